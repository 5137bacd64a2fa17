//! What is fuzzed, over its seeds and a few mutations of them: that the targets work, and that what
//! was found once stays found. `make fuzz` searches for more.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub mod targets;

/// Mutations of each seed.
const MUTATIONS: usize = 10;

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../t/fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

fn check(name: &str) {
    let (_, target) = targets::TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(name);
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for (path, bytes) in &seeds {
        // Shown when it panics.
        eprintln!("{}", path.display());
        target(bytes);
        for _ in 0..MUTATIONS {
            let mutated = mutated(bytes, &seeds, &mut random);
            eprintln!("seed {seed}: {:?}", mutated.escape_ascii().to_string());
            target(&mutated);
        }
    }
}

fn mutated(bytes: &[u8], others: &[(PathBuf, Vec<u8>)], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..5) {
            0 => bytes.insert(at, random.random()),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..bytes.len().min(at + random.random_range(0..9)))),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            _ => {
                let other = &others[random.random_range(0..others.len())].1;
                let from = random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
    bytes
}

macro_rules! over_seeds {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            check(stringify!($target));
        })*
    };
}

over_seeds! { path router config objects proxy }
