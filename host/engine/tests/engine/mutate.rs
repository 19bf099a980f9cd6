//! Damaged modules: what becomes of a good one when bits flip, parts are lost, doubled or come from another one.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere, so that a seed names a run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

/// Numbers that break things: LEB128 of the largest values, overlong ones, lengths of nothing.
const INTERESTING: [&[u8]; 8] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x00],
    &[0x7f],
    &[0x80],
    &[0xff],
];

/// Longest result, bytes: a module that doubles itself stays cheap to check.
const LONGEST: usize = 256 << 10;

/// A module of one of `seeds`, damaged one to eight times.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(8) {
        damage(&mut bytes, seeds, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    let power = random.below(10);
    let length = 1 + random.below(1 << power);
    let end = (at + length).min(bytes.len());
    match random.below(9) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        2 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        3 => {
            let number = INTERESTING[random.below(INTERESTING.len())];
            let end = (at + number.len()).min(bytes.len());
            bytes.splice(at..end, number.iter().copied());
        }
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        6 => {
            // Again and again: sections that repeat, lists that grow.
            let part = bytes[at..end].to_vec();
            for _ in 0..1 + random.below(64) {
                bytes.splice(at..at, part.iter().copied());
            }
        }
        7 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            let to = (from + length).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        _ => drop(bytes.splice(at..at, (0..length.min(16)).map(|_| random.next() as u8).collect::<Vec<_>>())),
    }
}
