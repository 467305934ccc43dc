//! The same bits on every instruction set of this machine.

use crate::opencv::pattern;
use kinglet_kernels::simd::{Isa, set_isa};
use kinglet_vision::colour::apply_hsv_gains;
use kinglet_vision::decode::{Limits, read_resized};
use kinglet_vision::image::Region;
use kinglet_vision::resize::resize_bilinear;
use kinglet_vision::warp::warp;

#[test]
fn pictures_do_not_depend_on_the_instruction_set() {
    let results = |isa| {
        set_isa(isa);
        let mut coloured = resize_bilinear(&pattern(), 61, 35);
        apply_hsv_gains(&mut coloured, [1.01, 1.4, 0.7]);
        let moved = warp(&coloured, [1.3, 0.0, -7.3, 0.0, 1.3, 4.7, 0.0, 0.0, 1.0], 50, 40, [114; 3]);
        let jpegs = ["420", "422", "444", "440"].map(|name| {
            let path = format!("{}/tests/data/half_{name}.jpg", env!("CARGO_MANIFEST_DIR"));
            [(37, 23), (74, 46)].map(|size| {
                let region = Region::whole(size.0, size.1);
                read_resized(&path, &Limits::default(), size, false, &region).unwrap()
            })
        });
        (coloured, moved, jpegs)
    };
    let available = Isa::available();
    let expected = results(Isa::Scalar);
    for &isa in &available {
        assert!(results(isa) == expected, "{} differs", isa.name());
    }
    set_isa(available[0]);
}
