//! The documentation and the structure of the source, kept true: console blocks are run, tables are held
//! against the code, promises name tests that exist, rooms keep to their floors.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod ci;
mod circles;
mod console;
mod generated;
mod json;
mod keys;
mod manifest;
mod pages;
mod plain;
mod structure;
mod transcript;

use std::path::{Path, PathBuf};

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below `folder` whose name ends in `.extension`, relative to the repository, sorted.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(folder)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

/// The pages that are written for people.
fn all_pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    pages.extend(files("docs", "md"));
    pages.extend(files("examples", "md").into_iter().filter(|page| page.matches('/').count() == 2));
    pages
}

/// A copy of a folder of the repository, without what a build leaves behind.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != ".conductor" && entry.file_name() != "build" {
                copy(&from, &to);
            }
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// A folder of its own for one test, in which `conductor` and a quiet git can be run.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.home()).unwrap();
        std::fs::create_dir(place.work()).unwrap();
        place
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Where the commands run.
    fn work(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("work")
    }

    /// A command that sees the built binary on PATH and nothing of this machine's user.
    fn command(&self, program: &str) -> std::process::Command {
        let binaries = Path::new(env!("CARGO_BIN_EXE_conductor")).parent().unwrap();
        let mut path = std::ffi::OsString::from(binaries);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = std::process::Command::new(program);
        command.env_clear().env("PATH", path).env("HOME", self.home()).env("LANG", "C.UTF-8");
        command.current_dir(self.work()).stdin(std::process::Stdio::null());
        command
    }
}
