//! Draws the demo data set: `draw_demo FOLDER [SEED]`.

use kinglet_data::synthetic::{SyntheticOptions, generate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: draw_demo FOLDER [SEED]")?;
    let seed = args.next().map_or(Ok(0), |text| text.parse())?;
    let start = std::time::Instant::now();
    let yaml = generate(folder, SyntheticOptions { seed, ..SyntheticOptions::default() })?;
    println!("{} in {:.1} s", yaml.display(), start.elapsed().as_secs_f64());
    Ok(())
}
