//! Flags of YOLOv5 that Kinglet does not have: harmless ones are left out with a warning, the others are refused with
//! the reason or go by another name, so that nobody faces "unexpected argument" for a flag they know.

use crate::errors::CliError;
use clap::CommandFactory;
use std::ffi::OsString;

/// What becomes of a flag.
enum Fate {
    /// The result does not depend on it.
    Ignored(&'static str),
    /// The result would differ.
    Refused(&'static str),
    /// It is called so here.
    Renamed(&'static str),
}

/// How many values follow a flag.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    None,
    One,
    Optional,
}

use Fate::{Ignored, Refused, Renamed};

const GPU: Fate = Ignored("it concerns GPUs");
const OTHER_FORMATS: Fate = Ignored("it concerns formats that Kinglet does not write");
const LOGGERS: Fate = Ignored("there are no loggers of other services; `results.csv` holds all numbers");

/// (command, flag, values, what becomes of it)
const TABLE: &[(&str, &str, Values, Fate)] = &[
    ("train", "--sync-bn", Values::None, GPU),
    ("train", "--local_rank", Values::One, GPU),
    ("train", "--local-rank", Values::One, GPU),
    ("train", "--entity", Values::One, LOGGERS),
    ("train", "--upload_dataset", Values::Optional, LOGGERS),
    ("train", "--bbox_interval", Values::One, LOGGERS),
    ("train", "--artifact_alias", Values::One, LOGGERS),
    ("train", "--bucket", Values::One, Ignored("nothing is uploaded")),
    ("train", "--quad", Values::None, Refused("quad collation changes the training; leave it out")),
    ("train", "--evolve_population", Values::One, Renamed("--ancestors")),
    ("train", "--resume_evolve", Values::One, Renamed("--resume")),
    ("val", "--half", Values::None, Ignored("the CPU computes in single precision")),
    ("val", "--dnn", Values::None, Ignored("Kinglet has its own engine")),
    ("val", "--save-hybrid", Values::None, Refused("labels mixed into predictions inflate mAP; use --save-txt")),
    ("detect", "--half", Values::None, Ignored("the CPU computes in single precision")),
    ("detect", "--dnn", Values::None, Ignored("Kinglet has its own engine")),
    ("detect", "--data", Values::One, Ignored("the class names come with the weights")),
    ("detect", "--visualize", Values::None, Ignored("feature maps are not drawn")),
    ("detect", "--view-img", Values::None, Ignored("there is no window; look at the saved images")),
    ("detect", "--update", Values::None, Ignored("there is nothing to update in weights")),
    ("export", "--simplify", Values::None, Ignored("the graph is written as plain as it can be")),
    ("export", "--inplace", Values::None, Ignored("it concerns PyTorch")),
    ("export", "--device", Values::One, Ignored("the export computes nothing")),
    ("export", "--half", Values::None, Refused("weights are written in single precision; leave it out")),
    ("export", "--int8", Values::None, Refused("weights are written in single precision; leave it out")),
    ("export", "--per-tensor", Values::None, Refused("weights are written in single precision; leave it out")),
    ("export", "--keras", Values::None, Refused("Keras models are not written; use --include onnx")),
    ("export", "--mlmodel", Values::None, Refused("CoreML models are not written; use --include onnx")),
    ("export", "--optimize", Values::None, OTHER_FORMATS),
    ("export", "--cache", Values::One, OTHER_FORMATS),
    ("export", "--workspace", Values::One, OTHER_FORMATS),
    ("export", "--verbose", Values::None, OTHER_FORMATS),
    ("export", "--topk-per-class", Values::One, Refused("the number of detections is set with --max-det")),
    ("export", "--topk-all", Values::One, Refused("the number of detections is set with --max-det")),
    // Not YOLOv5's, but most servers have it.
    ("serve", "--host", Values::One, Refused("host and port are one value: --at HOST:PORT")),
];

/// The flags of YOLOv5 that a command lacks: flag, what becomes of it, and why or what it is called here.
pub fn missing(command: &str) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.iter().filter(move |(of, ..)| *of == command).map(|(_, flag, _, fate)| match fate {
        Ignored(reason) => (*flag, "ignored", *reason),
        Refused(reason) => (*flag, "refused", *reason),
        Renamed(new) => (*flag, "renamed", *new),
    })
}

/// The long flags that a command has, other names included.
fn flags_of(command: &str) -> Vec<String> {
    let cli = super::Cli::command();
    let found = cli.find_subcommand(command);
    let names = |arg: &clap::Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default().into_iter().map(str::to_owned);
        arg.get_long().map(str::to_owned).into_iter().chain(aliases).collect::<Vec<_>>()
    };
    found.into_iter().flat_map(|c| c.get_arguments().flat_map(names)).map(|name| format!("--{name}")).collect()
}

/// The entry of a flag, written out or as a prefix that nothing else of the command begins with.
fn entry(command: &str, flag: &str) -> Option<&'static (&'static str, &'static str, Values, Fate)> {
    let mut own = TABLE.iter().filter(|(of, ..)| *of == command);
    if let Some(exact) = own.clone().find(|(_, name, ..)| *name == flag) {
        return Some(exact);
    }
    let is_prefix = flag.starts_with("--") && flag.len() > 2;
    if !is_prefix || flags_of(command).iter().any(|known| known.starts_with(flag)) {
        return None;
    }
    let first = own.find(|(_, name, ..)| name.starts_with(flag))?;
    // Two spellings of one flag are no two flags.
    let same = |name: &str| name.replace('_', "-") == first.1.replace('_', "-");
    own.all(|(_, name, ..)| !name.starts_with(flag) || same(name)).then_some(first)
}

/// Takes the known but unsupported flags out of a command line; gives the rest and the warnings.
///
/// # Errors
/// A flag that would change the result.
pub fn sift(argv: Vec<OsString>) -> Result<(Vec<OsString>, Vec<String>), CliError> {
    let command = argv.iter().skip(1).filter_map(|a| a.to_str()).find(|a| !a.starts_with('-')).unwrap_or("").to_owned();
    let (mut kept, mut warnings) = (Vec::with_capacity(argv.len()), Vec::new());
    let mut words = argv.into_iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or("");
        let (flag, value) = text.split_once('=').map_or((text, None), |(flag, value)| (flag, Some(value)));
        let Some((_, name, values, fate)) = entry(&command, flag) else {
            kept.push(word);
            continue;
        };
        match fate {
            Refused(reason) => return Err(CliError::usage(format!("`{name}` is not supported: {reason}"))),
            Ignored(reason) => warnings.push(format!("`{name}` is left out: {reason}")),
            Renamed(new) => {
                kept.push(value.map_or_else(|| (*new).into(), |value| format!("{new}={value}").into()));
                continue;
            }
        }
        let is_value = |next: &OsString| !next.to_string_lossy().starts_with("--");
        if *values != Values::None && value.is_none() && words.peek().is_some_and(is_value) {
            words.next();
        }
    }
    Ok((kept, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sifted(line: &str) -> Result<(String, usize), String> {
        let argv = line.split(' ').map(OsString::from).collect();
        let (kept, warnings) = sift(argv).map_err(|e| e.to_string())?;
        let kept: Vec<String> = kept.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        Ok((kept.join(" "), warnings.len()))
    }

    #[test]
    fn harmless_flags_go_with_their_values() {
        let line = "kinglet train --sync-bn --img 64 --entity me --bucket=x --local_rank -1 --cache";
        assert_eq!(sifted(line).unwrap(), ("kinglet train --img 64 --cache".to_owned(), 4));
        assert_eq!(sifted("kinglet detect --half --source a").unwrap(), ("kinglet detect --source a".to_owned(), 1));
    }

    #[test]
    fn flags_that_would_change_the_result_are_refused() {
        assert_eq!(
            sifted("kinglet train --quad").unwrap_err(),
            "`--quad` is not supported: quad collation changes the training; leave it out"
        );
        assert!(sifted("kinglet val --save-hybrid").is_err());
    }

    #[test]
    fn a_prefix_gets_the_answer_of_the_whole_flag() {
        assert_eq!(sifted("kinglet train --qua").unwrap_err(), sifted("kinglet train --quad").unwrap_err());
        assert_eq!(sifted("kinglet train --loc 0 --img 64").unwrap(), ("kinglet train --img 64".to_owned(), 1));
        assert_eq!(sifted("kinglet val --hal --dn").unwrap(), ("kinglet val".to_owned(), 2));
        // Those of flags that there are stay: the parser knows them.
        let line = "kinglet train --evol 300 --b 4 --e 3 --s";
        assert_eq!(sifted(line).unwrap(), (line.to_owned(), 0));
    }

    #[test]
    fn flags_with_other_names_here_keep_their_values() {
        let line = "kinglet train --evolve --evolve_population hyps --resume_evolve=runs/evolve/exp";
        let renamed = "kinglet train --evolve --ancestors hyps --resume=runs/evolve/exp";
        assert_eq!(sifted(line).unwrap(), (renamed.to_owned(), 0));
    }

    #[test]
    fn other_commands_keep_the_same_words() {
        assert_eq!(sifted("kinglet train --data x").unwrap(), ("kinglet train --data x".to_owned(), 0));
    }
}
