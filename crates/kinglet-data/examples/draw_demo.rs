//! Draws the demo data set: `draw_demo FOLDER [SEED [TRAIN [VAL]]]`, with numbers of training and validation images.

use kinglet_data::synthetic::{SyntheticOptions, generate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: draw_demo FOLDER [SEED [TRAIN [VAL]]]")?;
    let numbers = args.map(|text| text.parse()).collect::<Result<Vec<u64>, _>>()?;
    let number = |at: usize, default: usize| numbers.get(at).map_or(default, |n| *n as usize);
    let default = SyntheticOptions::default();
    let options = SyntheticOptions {
        seed: numbers.first().copied().unwrap_or_default(),
        train: number(1, default.train),
        val: number(2, default.val),
        ..default
    };
    let start = std::time::Instant::now();
    let yaml = generate(folder, options)?;
    println!("{} in {:.1} s", yaml.display(), start.elapsed().as_secs_f64());
    Ok(())
}
