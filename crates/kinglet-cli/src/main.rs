//! The `kinglet` command; everything it does is in the library beside it.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    kinglet_cli::main()
}
