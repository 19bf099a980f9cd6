//! Whatever bytes are given as a module: the checks answer, they don't panic. Start it with the zoo's modules as corpus.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orbit_engine::{ShapeLimits, shape};

fuzz_target!(|bytes: &[u8]| {
    for class in [ShapeLimits::POLICY, ShapeLimits::LANGUAGE] {
        let _ = shape::check(bytes, &class);
    }
});
