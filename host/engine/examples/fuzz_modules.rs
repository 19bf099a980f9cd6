//! `cargo xtask fuzz`: damages modules by rule and looks for panics.
//!
//! Two stages. Every module goes through the checks that stand before the compiler (`shape::check`: parser, limits, validator), in
//! both classes. Of those that pass, as many as `--calls` are compiled, loaded as the three worlds and called, in this process. A
//! panic is written to `--keep` as a file; the run is named by its seed.

#[allow(dead_code)]
#[path = "../tests/engine/by_hand.rs"]
mod by_hand;
#[allow(dead_code)]
#[path = "../tests/engine/guest.rs"]
mod guest;
#[path = "../tests/engine/mutate.rs"]
mod mutate;

use std::{
    error::Error,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use mutate::{Random, mutated};
use orbit_engine::{
    Authorizer, Compiler, Isolation, Limits, Renderer, Router, RouterRequest, Runtime, ShapeLimits, Slots, Terms,
    World, shape,
};

struct Options {
    modules: usize,
    calls: usize,
    seed: u64,
    keep: PathBuf,
}

#[derive(Default)]
struct Counts {
    done: AtomicUsize,
    good: AtomicUsize,
    called: AtomicUsize,
    panics: AtomicUsize,
    largest: AtomicU64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    // The zoo and the router that it is made of, each of them small: a million megabytes would be no test but a wait.
    let mut seeds: Vec<Vec<u8>> = guest::Guest::all().into_iter().map(|guest| guest.module).collect();
    seeds.retain(|module| module.len() < 16 << 10);
    seeds.push(by_hand::router(&[]));
    fs::create_dir_all(&options.keep)?;
    let compiler = Compiler::new(Runtime::start()?, Isolation::InProcess, None)?;
    let (counts, began) = (Counts::default(), Instant::now());
    println!("{} modules from {} seeds, seed {}", options.modules, seeds.len(), options.seed);
    // A panic is counted; its text comes once per file that is kept.
    thread::scope(|scope| {
        for worker in 0..thread::available_parallelism().map_or(1, usize::from) as u64 {
            let (options, seeds, counts, compiler) = (&options, &seeds, &counts, &compiler);
            scope.spawn(move || work(worker, options, seeds, counts, compiler, began));
        }
    });
    let panics = counts.panics.load(Relaxed);
    println!(
        "{} modules checked in {:.0} s: {} refused, {} still good, {} of these compiled, loaded and called; slowest check {:.1} ms; {panics} panics",
        counts.done.load(Relaxed),
        began.elapsed().as_secs_f64(),
        counts.done.load(Relaxed) - counts.good.load(Relaxed),
        counts.good.load(Relaxed),
        counts.called.load(Relaxed),
        counts.largest.load(Relaxed) as f64 / 1e3,
    );
    if panics == 0 {
        Ok(())
    } else {
        Err(format!("{panics} panics; the modules are in {}", options.keep.display()).into())
    }
}

fn work(worker: u64, options: &Options, seeds: &[Vec<u8>], counts: &Counts, compiler: &Compiler, began: Instant) {
    let mut random = Random::new(options.seed.wrapping_mul(1_000).wrapping_add(worker));
    loop {
        let n = counts.done.fetch_add(1, Relaxed);
        if n >= options.modules {
            counts.done.fetch_sub(1, Relaxed);
            return;
        }
        if n > 0 && n.is_multiple_of(options.modules.div_ceil(20)) {
            println!("  {n} after {:.0} s", began.elapsed().as_secs_f64());
        }
        let module = mutated(seeds, &mut random);
        let started = Instant::now();
        let checked = catch_unwind(|| {
            let _ = shape::check(&module, &ShapeLimits::LANGUAGE);
            shape::check(&module, &ShapeLimits::POLICY).is_ok()
        });
        counts.largest.fetch_max(started.elapsed().as_micros() as u64, Relaxed);
        let good = match checked {
            Ok(good) => good,
            Err(_) => {
                keep(options, counts, &module);
                continue;
            }
        };
        if good && counts.good.fetch_add(1, Relaxed) < options.calls {
            counts.called.fetch_add(1, Relaxed);
            if catch_unwind(AssertUnwindSafe(|| try_it(compiler, &module))).is_err() {
                keep(options, counts, &module);
            }
        }
    }
}

/// Compiles, binds as whatever it will be bound as, and asks.
fn try_it(compiler: &Compiler, module: &[u8]) {
    let Ok(compiled) = compiler.compile(module) else { return };
    let slots = Arc::new(Slots::unshared());
    let terms = |world| Terms { settings: "{}", limits: Limits::of(world), slots: slots.clone() };
    let _ = Authorizer::load(compiler, &compiled, terms(World::Authorizer));
    let _ = Renderer::load(compiler, &compiled, terms(World::Renderer));
    if let Ok(router) = Router::load(compiler, &compiled, terms(World::Router)) {
        let _ = router.route(&RouterRequest {
            workspace: "acme",
            tier: "pro",
            method: "GET",
            path: "/",
            query: "",
            headers: &[("a", "b")],
        });
    }
}

fn keep(options: &Options, counts: &Counts, module: &[u8]) {
    let n = counts.panics.fetch_add(1, Relaxed);
    let path = options.keep.join(format!("panic-{}-{n}.wasm", options.seed));
    match fs::write(&path, module) {
        Ok(()) => eprintln!("a panic: {}", path.display()),
        Err(error) => eprintln!("a panic, and {} can't be written: {error}", path.display()),
    }
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options { modules: 100_000, calls: 1_000, seed: 1, keep: "target/fuzz".into() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--modules" => options.modules = value()?.parse()?,
            "--calls" => options.calls = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--keep" => options.keep = value()?.into(),
            other => return Err(format!("what is {other}?").into()),
        }
    }
    Ok(options)
}
