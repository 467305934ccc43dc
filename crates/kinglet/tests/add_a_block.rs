//! The block of `docs/add-a-block.md` is the one of the example, which every build compiles.

#[test]
fn the_page_shows_the_example() {
    let page = include_str!("../../../docs/add-a-block.md");
    let example = include_str!("../examples/custom_block.rs");
    let (_, block) = example.split_once("/// A convolution").expect("the example begins with the block");
    let (block, _) = block.split_once("const MODEL").expect("and goes on with a model");
    assert!(page.contains(block.trim_end()), "copy the block of examples/custom_block.rs into docs/add-a-block.md");
}
