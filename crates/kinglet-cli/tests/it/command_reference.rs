//! The commands in Markdown, from the same definitions as `--help`.

use clap::{Arg, Command, CommandFactory, Parser};
use kinglet_cli::args::Cli;
use kinglet_cli::commands::man::after_help;

/// Flags of every command; the page tells of them once.
const EVERYWHERE: [&str; 3] = ["help", "quiet", "version"];

/// A table of all commands, and a section for each.
pub fn markdown() -> String {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut text = String::from("| command | does |\n|---|---|\n");
    for command in program.get_subcommands() {
        let name = command.get_name();
        text.push_str(&format!("| [`kinglet {name}`](#kinglet-{name}) | {} |\n", about(command)));
    }
    program.get_subcommands().for_each(|command| section(command, &mut text));
    text
}

fn about(command: &Command) -> String {
    command.get_about().expect("every command says what it does").to_string()
}

fn section(command: &Command, text: &mut String) {
    let name = command.get_bin_name().expect("built");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    text.push_str(&format!("\n## {name}\n\n{}.\n\n```text\n{usage}\n```\n", about(command)));
    let args: Vec<&Arg> = command.get_arguments().filter(|a| !is_everywhere(a) && !a.is_hide_set()).collect();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for heading in args.iter().map(|arg| arg.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        let title = heading.unwrap_or("Arguments");
        text.push_str(&format!("\n| {title} | value | default | what it does |\n|---|---|---|---|\n"));
        args.iter().filter(|arg| arg.get_help_heading() == heading).for_each(|arg| row(arg, text));
    }
    let (examples, remarks) = after_help(command);
    if !examples.is_empty() {
        text.push_str(&format!("\n```sh\n{}\n```\n", examples.join("\n")));
    }
    remarks.iter().for_each(|line| text.push_str(&format!("\n{line}\n")));
    command.get_subcommands().for_each(|inner| section(inner, text));
}

fn is_everywhere(arg: &Arg) -> bool {
    EVERYWHERE.contains(&arg.get_id().as_str())
}

fn row(arg: &Arg, text: &mut String) {
    let help = arg.get_help().expect("every argument says what it is").to_string();
    // What a default follows from stands in the text; the column has it as well.
    let (help, told) = match help.split_once("[default: ") {
        Some((before, rest)) => {
            let (told, after) = rest.split_once(']').expect("a bracket that closes");
            (format!("{}{after}", before.trim_end()), told.to_owned())
        }
        None => (help, String::new()),
    };
    let values = arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
    let takes = arg.get_action().takes_values();
    let default = match told.is_empty() && takes {
        true => values.collect::<Vec<_>>().join(" "),
        false => told,
    };
    let mut names = match arg.get_long() {
        Some(long) => format!("`--{long}`"),
        None => String::new(),
    };
    for alias in arg.get_visible_aliases().unwrap_or_default() {
        names.push_str(&format!(", `--{alias}`"));
    }
    let value = if takes { value(arg) } else { String::new() };
    let choice = if takes && !arg.is_hide_possible_values_set() { choice(arg) } else { String::new() };
    let cells = [names, value, default, format!("{help}{choice}")].map(|cell| cell.replace('|', "\\|"));
    text.push_str(&format!("| {} |\n", cells.join(" | ")));
}

/// The value's name: in brackets where it may be left out, with dots where several may be given.
fn value(arg: &Arg) -> String {
    let count = arg.get_num_args().expect("built");
    let names: Vec<&str> = arg.get_value_names().unwrap_or_default().iter().map(|n| n.as_str()).collect();
    let dots = if count.max_values() > names.len() { "..." } else { "" };
    let name = format!("{}{dots}", names.join(" "));
    let may_miss = count.min_values() == 0 || (arg.is_positional() && !arg.is_required_set());
    if may_miss { format!("`[{name}]`") } else { format!("`{name}`") }
}

/// The words that a value may be, with what they mean.
fn choice(arg: &Arg) -> String {
    let words = arg.get_possible_values().into_iter().filter(|v| !v.is_hide_set()).map(|v| match v.get_help() {
        Some(help) => format!("`{}`: {help}", v.get_name()),
        None => format!("`{}`", v.get_name()),
    });
    let words: Vec<String> = words.collect();
    let mark = if words.iter().any(|word| word.contains(": ")) { "; " } else { ", " };
    if words.is_empty() { String::new() } else { format!(". {}", words.join(mark)) }
}

/// The words of a line as a shell splits it, up to a comment, a pipe or a file.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (None, ' ') => words.extend(word.take()),
            (None, '#' | '>' | '|') if word.is_none() => break,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == letter => quote = None,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Whether the program understands a line.
pub fn is_understood(line: &str) -> Result<(), String> {
    let words = words(line).into_iter().map(Into::into).collect();
    let (words, _) = kinglet_cli::args::legacy::sift(words).map_err(|error| error.to_string())?;
    match Cli::try_parse_from(words) {
        // Asking for help or the version is no mistake.
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[test]
fn words_are_those_of_a_shell() {
    let line = "kinglet a 'b c' --d=\"e f\" ''   # g";
    assert_eq!(words(line), ["kinglet", "a", "b c", "--d=e f", ""]);
    assert_eq!(words("kinglet zoo > file"), ["kinglet", "zoo"]);
}

#[test]
fn every_command_has_an_example_that_the_program_understands() {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut waiting: Vec<Command> = program.get_subcommands().cloned().collect();
    while let Some(command) = waiting.pop() {
        let (examples, _) = after_help(&command);
        assert!(!examples.is_empty(), "{:?} has no example", command.get_bin_name());
        for example in examples.iter().filter(|line| line.starts_with("kinglet")) {
            is_understood(example).unwrap_or_else(|error| panic!("{example}\n{error}"));
        }
        waiting.extend(command.get_subcommands().cloned());
    }
}
