//! Flags of YOLOv5 that Kinglet does not have: harmless ones are left out with a warning, the others are refused with
//! the reason, so that nobody faces "unexpected argument" for a flag they know.

use crate::errors::CliError;
use std::ffi::OsString;

/// What becomes of a flag.
enum Fate {
    /// The result does not depend on it.
    Ignored(&'static str),
    /// The result would differ.
    Refused(&'static str),
}

/// How many values follow a flag.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    None,
    One,
    Optional,
}

use Fate::{Ignored, Refused};

const GPU: Fate = Ignored("it concerns GPUs");
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
    ("train", "--evolve", Values::Optional, Refused("hyperparameters are not evolved; give a file with --hyp")),
    ("train", "--evolve_population", Values::One, Refused("hyperparameters are not evolved; give a file with --hyp")),
    ("train", "--resume_evolve", Values::One, Refused("hyperparameters are not evolved; give a file with --hyp")),
    ("val", "--half", Values::None, Ignored("the CPU computes in single precision")),
    ("val", "--dnn", Values::None, Ignored("Kinglet has its own engine")),
    ("val", "--augment", Values::None, Refused("there is no test-time augmentation; leave it out")),
    ("val", "--save-hybrid", Values::None, Refused("labels mixed into predictions inflate mAP; use --save-txt")),
    ("detect", "--half", Values::None, Ignored("the CPU computes in single precision")),
    ("detect", "--dnn", Values::None, Ignored("Kinglet has its own engine")),
    ("detect", "--data", Values::One, Ignored("the class names come with the weights")),
    ("detect", "--visualize", Values::None, Ignored("feature maps are not drawn")),
    ("detect", "--view-img", Values::None, Ignored("there is no window; look at the saved images")),
    ("detect", "--update", Values::None, Ignored("there is nothing to update in weights")),
    ("detect", "--augment", Values::None, Refused("there is no test-time augmentation; leave it out")),
    ("export", "--simplify", Values::None, Ignored("the graph is written as plain as it can be")),
    ("export", "--inplace", Values::None, Ignored("it concerns PyTorch")),
    ("export", "--device", Values::One, Ignored("the export computes nothing")),
    ("export", "--half", Values::None, Refused("weights are written in single precision; leave it out")),
    ("export", "--int8", Values::None, Refused("weights are written in single precision; leave it out")),
    ("export", "--topk-per-class", Values::One, Refused("the number of detections is set with --max-det")),
    ("export", "--topk-all", Values::One, Refused("the number of detections is set with --max-det")),
];

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
        let (flag, has_value) = text.split_once('=').map_or((text, false), |(flag, _)| (flag, true));
        let Some((_, _, values, fate)) = TABLE.iter().find(|(of, name, ..)| *of == command && *name == flag) else {
            kept.push(word);
            continue;
        };
        match fate {
            Refused(reason) => return Err(CliError::usage(format!("`{flag}` is not supported: {reason}"))),
            Ignored(reason) => warnings.push(format!("`{flag}` is left out: {reason}")),
        }
        let is_value = |next: &OsString| !next.to_string_lossy().starts_with("--");
        if *values != Values::None && !has_value && words.peek().is_some_and(is_value) {
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
            sifted("kinglet train --evolve 300").unwrap_err(),
            "`--evolve` is not supported: hyperparameters are not evolved; give a file with --hyp"
        );
        assert!(sifted("kinglet val --augment").is_err());
    }

    #[test]
    fn other_commands_keep_the_same_words() {
        assert_eq!(sifted("kinglet train --data x").unwrap(), ("kinglet train --data x".to_owned(), 0));
    }
}
