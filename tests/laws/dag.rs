//! A plain graph whose results are known beforehand: each task's output is the checksum of a file of its own, some
//! shared files and its dependencies' outputs. For laws in which builds are disturbed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use crate::ground::Ground;

/// A graph: for each task those before it that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Dag {
    pub(crate) needs: Vec<Vec<usize>>,
}

/// Graphs of so many tasks.
pub(crate) fn dags(size: std::ops::Range<usize>) -> impl Strategy<Value = Dag> {
    vec(vec(any::<u8>(), 0..3), size).prop_map(|seeds| {
        let needs = |(i, seeds): (usize, &Vec<u8>)| {
            let mut needs: Vec<usize> = seeds
                .iter()
                .filter(|_| i > 0)
                .map(|seed| i - 1 - usize::from(*seed) % i.clamp(1, 5))
                .collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        };
        Dag { needs: seeds.iter().enumerate().map(needs).collect() }
    })
}

/// What `cksum` prints for these bytes (POSIX: CRC-32 of the bytes and of their number).
fn cksum(bytes: &[u8]) -> String {
    let mut crc: u32 = 0;
    let mut take = |byte: u8| {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
        }
    };
    for byte in bytes {
        take(*byte);
    }
    let mut length = bytes.len();
    while length > 0 {
        take(u8::try_from(length & 0xff).unwrap());
        length >>= 8;
    }
    format!("{} {}\n", !crc, bytes.len())
}

impl Dag {
    /// The places of its tasks.
    pub(crate) fn indices(&self) -> std::ops::Range<usize> {
        0..self.needs.len()
    }

    /// Does a task read the shared files?
    pub(crate) fn reads_shared(i: usize) -> bool {
        i.is_multiple_of(3)
    }

    /// What a task reads, as words for `cat`.
    pub(crate) fn read(&self, i: usize) -> String {
        let shared = if Self::reads_shared(i) { " shared/*.txt" } else { "" };
        let needs =
            self.needs[i].iter().fold(String::new(), |words, need| words + &format!(" out/{need}.txt"));
        format!("ctl/{i}.txt{shared}{needs}")
    }

    /// A manifest in which task `i` does `run(i)`; `more(i)` are further keys of it.
    pub(crate) fn manifest(&self, run: impl Fn(usize) -> String, more: impl Fn(usize) -> String) -> String {
        let mut text = "conductor: 1\nproject: laws\ntasks:\n".to_owned();
        for i in self.indices() {
            let shared = if Self::reads_shared(i) { ", \"shared/*.txt\"" } else { "" };
            let needs: Vec<String> = self.needs[i].iter().map(|need| format!("T{need}")).collect();
            let run = serde_json::to_string(&run(i)).unwrap();
            let _ = writeln!(
                text,
                "  T{i}:\n    inputs: [ctl/{i}.txt{shared}]\n    needs: [{}]",
                needs.join(", ")
            );
            let _ = writeln!(text, "    run: {run}\n{}", more(i));
        }
        text
    }

    /// Writes the files that tasks read.
    pub(crate) fn write_files(&self, ground: &Ground) {
        for i in self.indices() {
            ground.write(&format!("ctl/{i}.txt"), format!("good {i}\n"));
        }
        ground.write("shared/a.txt", "a\n");
    }

    /// What `out/i.txt` must hold, given the files that are there now.
    pub(crate) fn expected(&self, ground: &Ground) -> Vec<String> {
        let mut shared: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in std::fs::read_dir(ground.path("shared")).unwrap() {
            let path = entry.unwrap().path();
            shared.insert(path.file_name().unwrap().display().to_string(), std::fs::read(path).unwrap());
        }
        let shared: Vec<u8> = shared.into_values().flatten().collect();
        let mut results: Vec<String> = Vec::new();
        for i in self.indices() {
            let mut read = std::fs::read(ground.path(&format!("ctl/{i}.txt"))).unwrap();
            if Self::reads_shared(i) {
                read.extend(&shared);
            }
            read.extend(self.needs[i].iter().flat_map(|need| results[*need].bytes()));
            results.push(cksum(&read));
        }
        results
    }

    /// Every output is what it must be.
    pub(crate) fn compare(&self, ground: &Ground, when: &str) -> Result<(), String> {
        for (i, expected) in self.expected(ground).iter().enumerate() {
            let found = std::fs::read_to_string(ground.path(&format!("out/{i}.txt"))).unwrap_or_default();
            if found != *expected {
                return Err(format!("{when}: out/{i}.txt holds {found:?} and should hold {expected:?}"));
            }
        }
        Ok(())
    }
}

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next one below `limit`.
    pub(crate) fn roll(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit.max(1)
    }
}

#[test]
fn the_checksum_is_that_of_the_command() {
    let printed =
        std::process::Command::new("sh").args(["-c", "printf 'good 1\\n' | cksum"]).output().unwrap();
    assert_eq!(cksum(b"good 1\n").as_bytes(), printed.stdout);
}
