//! Everything that can make a data set unusable. Problems of single boxes or images are `Finding`s instead.

use crate::source::Split;
use std::path::{Path, PathBuf};

/// Why a data set cannot be used. Messages name the file, what was expected, what was found and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing that could be a data set.
    #[error("the data set `{}` {what}; expected a data.yaml, a COCO .json, or a folder as CVAT, Roboflow, Label Studio, LabelImg or VOC have it", path.display())]
    NoSource {
        /// The path given.
        path: PathBuf,
        /// What is there instead.
        what: &'static str,
    },
    /// A folder that holds no description of a data set.
    #[error("no data set is recognised in the folder `{}`; looked for {FOLDERS}\n  write a data.yaml into it: `train: images/train`, `val: images/val` and `names: [first, second]`", folder.display())]
    NotRecognised {
        /// The folder given.
        folder: PathBuf,
    },
    /// A folder with several data YAMLs, none of the usual name.
    #[error("`{}` holds several YAML files; name the one that is meant:{}", folder.display(), indented(yamls))]
    SeveralYamls {
        /// The folder given.
        folder: PathBuf,
        /// What it holds.
        yamls: Vec<PathBuf>,
    },
    /// A folder with several annotation files whose names say no split.
    #[error("`{}` holds several annotation files; name the one that is meant, or call them after their splits (`train.json`, `val.json`):{}", folder.display(), indented(files))]
    SeveralFiles {
        /// The folder given.
        folder: PathBuf,
        /// What it holds.
        files: Vec<PathBuf>,
    },
    /// Annotations in a format that a program has besides those that are read.
    #[error("`{}` is {what}, which is not read; {instead}", file.display())]
    OtherFormat {
        /// The file.
        file: PathBuf,
        /// Its format.
        what: &'static str,
        /// The way out.
        instead: &'static str,
    },
    /// Annotations without one object.
    #[error("none of the {files} annotation files in `{}` names a class; write the class names into a `classes.txt` there, one a line", folder.display())]
    NoClasses {
        /// The folder.
        folder: PathBuf,
        /// Files read.
        files: usize,
    },
    /// A description that is malformed or says something impossible.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// Expected, found, next step.
        message: String,
    },
    /// A split's images are nowhere to be found.
    #[error("{}:{line}:{column}: `{key}: {value}` not found; tried:{}\n  write `path` relative to the data YAML's own folder, or as an absolute path", file.display(), indented(tried))]
    SplitNotFound {
        /// The YAML file.
        file: PathBuf,
        /// Line of the entry.
        line: usize,
        /// Column of the entry.
        column: usize,
        /// `train`, `val` or `test`.
        key: String,
        /// The entry as written.
        value: String,
        /// Every path tried, in order.
        tried: Vec<PathBuf>,
    },
    /// No such split is named.
    #[error("`{}` has no `{split}`; {}", file.display(), add_split(split, *yaml))]
    NoSuchSplit {
        /// The file or folder.
        file: PathBuf,
        /// The split asked for.
        split: &'static str,
        /// Whether it is a data YAML.
        yaml: bool,
    },
    /// A split resolved but holds no image.
    #[error("no images for `{}` in{}\n  expected files ending in one of: {extensions}{}{}", split.key(), indented(places), first.as_ref().map_or(String::new(), |f| format!("\n  {f}")), without(*split, *yaml))]
    NoImages {
        /// The split asked for.
        split: Split,
        /// Folders and lists searched.
        places: Vec<PathBuf>,
        /// Accepted extensions.
        extensions: String,
        /// The first image that a list names and that is not there, as text.
        first: Option<String>,
        /// Whether a data YAML names the split.
        yaml: bool,
    },
    /// Every image of the split is unusable.
    #[error("none of the {count} images for `{split}` can be read; the first: {first}")]
    NoReadableImages {
        /// The split asked for.
        split: &'static str,
        /// Images found.
        count: usize,
        /// The first finding, as text.
        first: String,
    },
    /// Images but not one label file.
    #[error("no label file for any of the {images} images of `{split}`; for `{}` tried:{}\n  rule: the last `/images/` in an image's path becomes `/labels/` and its extension `.txt`; otherwise the .txt beside the image, or VOC XML beside it or in `annotations`", image.display(), indented(tried))]
    NoLabels {
        /// The split asked for.
        split: &'static str,
        /// Images found.
        images: usize,
        /// The first image.
        image: PathBuf,
        /// Label paths tried for it.
        tried: Vec<PathBuf>,
    },
    /// Training images, but nothing to learn; or other images, all of whose boxes are left out.
    #[error("the {images} images of `{split}` have not one box to {}{}", if *split == "train" { "learn from" } else { "measure by" }, first.as_ref().map_or("; their label files are empty".to_owned(), |f| format!("; the first problem: {f}")))]
    NoBoxes {
        /// The split asked for.
        split: &'static str,
        /// Images found.
        images: usize,
        /// The first finding about a label, as text.
        first: Option<String>,
    },
    /// Classes without a name.
    #[error("{} a class that `{}` does not name; it names {} ({}):{}\n  add the missing names or correct the labels", labels_have(*count), file.display(), names.len(), some(names), lines(first))]
    ClassOutOfRange {
        /// What names the classes.
        file: PathBuf,
        /// Its classes, `number: name`.
        names: Vec<String>,
        /// Labels concerned.
        count: usize,
        /// The first few, `file:line: class N`.
        first: Vec<String>,
    },
    /// Labels that are not written back.
    #[error("`{}` is not YOLO text, which alone is corrected in place; write the data set as such, without the wrong labels: kinglet data convert DATA --to yolo --output FOLDER", file.display())]
    NotFixable {
        /// The annotation file.
        file: PathBuf,
    },
    /// A folder meant for generated data already holds something else.
    #[error("`{}` exists and is not empty; name a new folder", .0.display())]
    FolderNotEmpty(PathBuf),
}

/// What makes a folder a data set, in the order looked for.
const FOLDERS: &str = "a data YAML, obj.data (CVAT), COCO JSON (annotations/*.json, train/_annotations.coco.json), VOC XML \
                       (Annotations/*.xml, or beside the images), classes.txt (Label Studio, LabelImg)";

impl DataError {
    pub(crate) fn malformed(file: &Path, line: usize, column: usize, message: impl Into<String>) -> Self {
        DataError::Malformed { file: file.to_path_buf(), line, column, message: message.into() }
    }

    /// CVAT's own XML.
    pub(crate) fn cvat(file: &Path) -> Self {
        DataError::OtherFormat {
            file: file.to_path_buf(),
            what: "CVAT's own XML (`CVAT for images`)",
            instead: "export the task from CVAT as `Ultralytics YOLO Detection`, `COCO` or `PASCAL VOC`",
        }
    }

    /// The XML of LabelMe, which CVAT and Datumaro write too: polygons in VOC's elements, and no boxes.
    pub(crate) fn labelme(file: &Path) -> Self {
        DataError::OtherFormat {
            file: file.to_path_buf(),
            what: "LabelMe's XML",
            instead: "export from CVAT, Datumaro or whichever program wrote it as COCO, Pascal VOC or YOLO",
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        DataError::Io { action, path: path.to_path_buf(), source }
    }
}

/// `1 label has`, `2 labels have`.
pub(crate) fn labels_have(count: usize) -> String {
    if count == 1 { "1 label has".to_owned() } else { format!("{count} labels have") }
}

fn indented(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| format!("\n    {}", p.display())).collect()
}

/// How a split is added.
fn add_split(split: &str, yaml: bool) -> String {
    if yaml {
        format!("add a line such as `{split}: images/{split}`")
    } else {
        format!("call its file or folder `{split}`, or choose another split with --task")
    }
}

/// The way out where a split is not needed.
fn without(split: Split, yaml: bool) -> &'static str {
    match split {
        Split::Val if yaml => "\n  to train without validation, remove the line `val:` from the data YAML",
        _ => "",
    }
}

/// The first few of a list, with an ellipsis.
fn some(texts: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if texts.len() > SHOWN { format!("{shown}, ...") } else { shown }
}

fn lines(texts: &[String]) -> String {
    texts.iter().map(|t| format!("\n    {t}")).collect()
}
