//! Row W-21: a short run of `cargo xtask fuzz`.

use orbit_engine::{ShapeLimits, shape};

use crate::{
    by_hand::router,
    guest::Guest,
    mutate::{Random, mutated},
};

/// A few seconds.
const MODULES: usize = 5_000;
const SEED: u64 = 21;

#[test]
fn damaged_modules_are_refused_without_a_panic() {
    let mut seeds: Vec<Vec<u8>> = Guest::all().into_iter().map(|guest| guest.module).collect();
    seeds.retain(|module| module.len() < 16 << 10);
    seeds.push(router(&[]));
    let mut random = Random::new(SEED);
    let (mut good, mut refused) = (0, 0);
    for n in 0..MODULES {
        let module = mutated(&seeds, &mut random);
        let outcome = std::panic::catch_unwind(|| shape::check(&module, &ShapeLimits::POLICY).is_ok());
        match outcome.unwrap_or_else(|_| panic!("module {n} of seed {SEED} makes the checks panic")) {
            true => good += 1,
            false => refused += 1,
        }
    }
    println!("{refused} refused, {good} still good");
    assert!(refused > MODULES / 2 && good > 0, "{refused} refused, {good} good: these mutations test nothing");
}
