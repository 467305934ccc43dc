//! Every file under `mistakes/` is refused, or accepted with warnings, in the words of its snapshot.

use crate::registry::{MODELS, REGISTRY};
use kinglet_spec::{ResolveOptions, resolve};
use std::fs;
use std::path::Path;

#[test]
fn every_mistake_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mistakes");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of mistakes")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 25, "only {} mistakes found", files.len());
    for path in files {
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a text");
        // `data_nc` in a name: a data set of three classes is given.
        let nc = stem.contains("data_nc").then_some(3);
        let options = ResolveOptions { nc, models: MODELS, ..ResolveOptions::default() };
        let told = match resolve(&text, "my.yaml", REGISTRY, &options) {
            Err(error) => error.to_string(),
            Ok(graph) => {
                assert!(!graph.warnings.is_empty(), "{stem} builds without a word");
                graph.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            }
        };
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(stem, told);
        });
    }
}
