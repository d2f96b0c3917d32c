//! The cache: results that were accepted once come back instead of being made again, wherever their keys are
//! met, and never as anything but what they were.

mod apart;
mod commands;
mod damage;
mod sharing;
mod tree;
mod trust;

use std::path::{Path, PathBuf};

use crate::support::{Run, World};

/// A workspace with the cache on.
fn world(manifest: &str) -> World {
    World::new(manifest).env("CONDUCTOR_CACHE", "rw")
}

/// A second checkout, with the manifest of the first, that uses the same cache.
fn checkout(first: &World) -> World {
    let text = first.read("conductor.yaml");
    let other = world(text.strip_prefix("conductor: 1\n").unwrap());
    other.env("CONDUCTOR_CACHE_DIR", first.path(".conductor/cache").to_str().unwrap())
}

/// The folder of a workspace's own cache.
fn cache(w: &World) -> PathBuf {
    w.path(".conductor/cache/v2")
}

/// All files of a part of the cache.
fn files(w: &World, part: &str) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                below(&entry.path(), found);
            } else {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    below(&cache(w).join(part), &mut found);
    found.sort();
    found
}

/// Two tasks in a chain.
const CHAIN: &str = "tasks:
  A: { inputs: [a], outputs: [out/a], run: 'echo made A; tr a-z A-Z < a > out/a' }
  B: { inputs: [out/a], outputs: [b], run: 'cat out/a out/a > b' }
";

fn chain() -> World {
    let w = world(CHAIN);
    w.file("a", "one\n");
    w.build(&[]).success().ran(&["A", "B"]);
    w
}

trait Restored {
    /// These tasks and no others came from the cache.
    fn restored(&self, tasks: &[&str]) -> &Self;
}

impl Restored for Run {
    #[track_caller]
    fn restored(&self, tasks: &[&str]) -> &Self {
        self.are("cached", tasks)
    }
}

/// The next build does nothing, and `check` agrees.
#[track_caller]
fn is_settled(w: &World) {
    w.build(&[]).runs_nothing().restored(&[]);
    w.check(&[]).success();
}
