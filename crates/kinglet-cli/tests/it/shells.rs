//! Completion scripts and manual pages.

use crate::program::{command, files, kinglet};
use clap::CommandFactory;
use kinglet_cli::args::Cli;
use std::process::Command;

#[test]
fn scripts_know_every_command_and_flag() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = kinglet(folder.path(), &format!("completions {shell}")).ok().stdout;
        for command in Cli::command().get_subcommands() {
            assert!(script.contains(command.get_name()), "{shell} lacks {}", command.get_name());
            for long in command.get_arguments().filter(|a| !a.is_hide_set()).filter_map(clap::Arg::get_long) {
                assert!(script.contains(long), "{shell} lacks --{long}");
            }
        }
    }
    let ran = kinglet(folder.path(), "completions tcsh");
    assert!(ran.code == 2 && ran.stderr.contains("bash, elvish, fish, powershell, zsh"), "{}", ran.all());
}

#[test]
fn bash_completes_a_flag() {
    if Command::new("bash").arg("--version").output().is_err() {
        eprintln!("skipped: there is no bash");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = kinglet(folder.path(), "completions bash").ok().stdout;
    std::fs::write(folder.path().join("script"), script).unwrap();
    let complete = |words: &str, at: usize| {
        let line = format!(
            "compopt() {{ :; }}; source ./script; COMP_WORDS=({words}); COMP_CWORD={at}; \
             _kinglet kinglet \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").current_dir(folder.path()).args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("kinglet ev", 1), "evolve");
    assert_eq!(complete("kinglet val --conf", 2), "--conf --conf-thres");
    assert_eq!(complete("kinglet data convert --to c", 4), "coco");
}

#[test]
fn every_command_has_a_manual_page_with_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    let ran = kinglet(folder.path(), "man pages").ok();
    let written = files(&folder.path().join("pages"));
    assert_eq!(ran.stdout, format!("{} pages in pages\n", written.len()));
    assert!(written.contains(&"kinglet.1".to_owned()) && written.contains(&"kinglet-data-check.1".to_owned()));
    for command in Cli::command().get_subcommands() {
        let name = format!("kinglet-{}.1", command.get_name());
        let page = std::fs::read_to_string(folder.path().join("pages").join(&name)).unwrap();
        assert!(page.contains("\n.SH EXAMPLES\n"), "{name}");
        for long in command.get_arguments().filter(|a| !a.is_hide_set()).filter_map(clap::Arg::get_long) {
            // roff writes a hyphen as `\-`.
            assert!(page.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{name} lacks --{long}");
        }
    }
    let printed = kinglet(folder.path(), "man").ok().stdout;
    let page = std::fs::read_to_string(folder.path().join("pages/kinglet.1")).unwrap();
    assert_eq!(printed.trim_end(), page.trim_end());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken"), "").unwrap();
    let ran = kinglet(folder.path(), "man taken");
    assert!(ran.code == 1 && ran.stderr.contains("taken"), "{}", ran.all());
    // A reader that has gone away is no failure.
    let mut child = command(folder.path(), "completions zsh").stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
