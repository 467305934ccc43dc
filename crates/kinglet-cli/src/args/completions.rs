//! Arguments of `kinglet completions`.

use clap::Args;
use clap_complete::Shell;

/// `kinglet completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet completions bash > ~/.local/share/bash-completion/completions/kinglet\n  \
    kinglet completions zsh > ~/.zfunc/_kinglet               # fpath+=~/.zfunc before compinit\n  \
    kinglet completions fish > ~/.config/fish/completions/kinglet.fish\n  \
    kinglet completions powershell >> $PROFILE\n  \
    kinglet completions elvish >> ~/.config/elvish/rc.elv\n\n\
    Shells begin to complete when they are next started.")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}
