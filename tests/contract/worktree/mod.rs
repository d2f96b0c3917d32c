//! Tasks in git worktrees, against real git: what they see, what becomes of their results, and what of the
//! user's must stay as it is.

mod branches;
mod confined;
mod endings;
mod ground;
mod inside;
mod persons;
mod stays;
mod together;

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::support::World;

/// A repository with one commit that holds `files` and the manifest; nobody is named in git's configuration.
fn repo(manifest: &str, files: &[(&str, &str)]) -> World {
    let w = plain(manifest, files);
    w.git(&["init", "-q"]);
    commit(&w, "first");
    w
}

/// The same without a repository.
fn plain(manifest: &str, files: &[(&str, &str)]) -> World {
    let mut w = World::new(manifest);
    let home = w.root().with_file_name("home");
    std::fs::create_dir(&home).unwrap();
    w.set_env("HOME", home.to_str().unwrap());
    for (path, content) in files {
        w.file(path, content);
    }
    w
}

/// Commits everything that git does not ignore.
fn commit(w: &World, message: &str) {
    w.git(&["add", "-A"]).git(&["commit", "-q", "--no-verify", "-m", message]);
}

/// What a file of a branch says.
#[track_caller]
fn on(w: &World, branch: &str, path: &str) -> String {
    w.git_says(&["show", &format!("{branch}:{path}")])
}

/// How a branch differs from HEAD: `A out`, `D old`.
#[track_caller]
fn differs(w: &World, branch: &str) -> Vec<String> {
    let text = w.git_says(&["diff", "--no-renames", "--name-status", "HEAD", branch]);
    text.lines().map(|line| line.replace('\t', " ")).collect()
}

/// The branches of the repository without `main`.
fn branches(w: &World) -> Vec<String> {
    let all = w.git_says(&["for-each-ref", "--format=%(refname:short)", "refs/heads"]);
    all.lines().filter(|name| *name != "main").map(str::to_owned).collect()
}

/// Files below a folder whose names end so.
fn named(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            named(&path, end, found);
        } else if path.as_os_str().as_bytes().ends_with(end.as_bytes()) {
            found.push(path);
        }
    }
}

/// No worktree, no private folder, no lock, nothing half-made, and a repository that git finds sound.
#[track_caller]
fn nothing_left(w: &World) {
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 1, "{}", w.git_says(&["worktree", "list"]));
    assert!(!w.has(".conductor/workspaces"), "private folders are left");
    let mut locks = Vec::new();
    named(&w.path(".git"), ".lock", &mut locks);
    assert_eq!(locks, [] as [PathBuf; 0]);
    assert!(!w.has(".git/conductor/unfinished"), "something half-made is left");
    assert!(!w.has(".git/worktrees"), "entries of worktrees are left");
    w.git(&["fsck", "--no-progress", "--no-dangling", "--strict"]);
}
