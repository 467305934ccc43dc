//! The documentation as a whole: every link leads somewhere, every command line is understood, the book has every page.

use crate::command_reference::is_understood;
use crate::pages::root;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a page says about links.
#[derive(Default)]
struct Page {
    /// Names that links may end with, `#name`.
    anchors: Vec<String>,
    links: Vec<String>,
    /// Lines of shell code.
    shell: Vec<String>,
}

/// The Markdown files of the repository.
fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        // Build outputs, runs and the book are no part of the repository.
        let foreign = name.starts_with('.') || ["target", "runs", "book", "node_modules"].contains(&name.as_str());
        if path.is_dir() && !path.is_symlink() && !foreign {
            markdown_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// A heading's anchor, as Git hosts and mdBook make it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

fn read(path: &Path) -> Page {
    let text = std::fs::read_to_string(path).unwrap();
    let mut page = Page::default();
    let (mut heading, mut is_shell) = (None::<String>, false);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Start(Tag::CodeBlock(kind)) => {
                is_shell = matches!(kind, CodeBlockKind::Fenced(language) if &*language == "sh");
            }
            Event::End(TagEnd::CodeBlock) => is_shell = false,
            Event::Text(lines) if is_shell => {
                page.shell.extend(lines.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()));
            }
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let anchor = slug(&heading.take().unwrap_or_default());
                let times = seen.entry(anchor.clone()).or_default();
                page.anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
                *times += 1;
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => page.links.push(dest_url.into()),
            _ => {}
        }
    }
    page
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut files = Vec::new();
    markdown_files(&root(), &mut files);
    let (mut broken, mut followed) = (Vec::new(), 0);
    for file in &files {
        let page = read(file);
        for link in page.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let leads = target.exists() && (anchor.is_empty() || read(&target).anchors.iter().any(|a| a == anchor));
            if !leads {
                broken.push(format!("{}: {link}", file.display()));
            }
            followed += 1;
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
    assert!(files.len() > 20 && followed > 50, "{} files, {followed} links", files.len());
}

#[test]
fn every_command_line_is_understood() {
    let mut files = Vec::new();
    markdown_files(&root(), &mut files);
    let mut lines = 0;
    for file in &files {
        for line in read(file).shell.iter().filter(|line| line.starts_with("kinglet ")) {
            is_understood(line).unwrap_or_else(|error| panic!("{}: {line}\n{error}", file.display()));
            lines += 1;
        }
    }
    assert!(lines > 60, "only {lines} lines");
}

#[test]
fn anchors_are_those_of_git_hosts() {
    assert_eq!(slug("YOLOv5's recipe, or the default one"), "yolov5s-recipe-or-the-default-one");
    assert_eq!(slug("`kinglet data check`"), "kinglet-data-check");
    assert_eq!(slug("Study: mAP and time"), "study-map-and-time");
}

#[test]
fn the_book_has_every_page_once() {
    let docs = root().join("docs");
    let mut pages: Vec<String> = std::fs::read_dir(&docs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect();
    let mut listed = read(&docs.join("SUMMARY.md")).links;
    pages.sort();
    listed.sort();
    assert_eq!(listed, pages);
}
