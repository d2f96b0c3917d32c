//! The room against git itself: what `git` says of what was done here.

mod basics;
mod branches;
mod commits;
mod faults;
mod leftovers;
mod linked;
mod merges;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::*;
use crate::model::Digest;

/// A repository in a temporary folder, whose `git` knows no configuration but its own.
struct Ground {
    _folder: tempfile::TempDir,
    /// The working tree.
    top: PathBuf,
}

impl Ground {
    /// A repository without a commit.
    fn unborn() -> Self {
        let folder = tempfile::Builder::new().prefix("conductor-git-").tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap().join("top");
        fs::create_dir(&top).unwrap();
        let ground = Self { _folder: folder, top };
        ground.git(&["init", "-q", "-b", "main"]);
        ground.git(&["config", "user.name", "A Person"]);
        ground.git(&["config", "user.email", "person@localhost"]);
        ground
    }

    /// A repository with one commit: `a`, `d/b`, `d/e/c`.
    fn new() -> Self {
        let ground = Self::unborn();
        ground.file("a", "a\n").file("d/b", "b\n").file("d/e/c", "c\n").commit("first");
        ground
    }

    fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.top.join(path)).unwrap()
    }

    fn executable(&self, path: &str) -> &Self {
        fs::set_permissions(self.top.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Commits all there is.
    fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A", ".", ":!.conductor"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.top, arguments)
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.top).unwrap().unwrap()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.top.join(".conductor/workspaces").join(name)
    }

    fn workspaces(&self) -> PathBuf {
        self.top.join(".conductor/workspaces")
    }

    /// What git says of the user's working tree, but for conductor's folder.
    fn status(&self) -> String {
        self.git(&["status", "--porcelain", "--", ".", ":!.conductor"])
    }

    /// Nothing of conductor's is left in git's eyes, and nothing is wrong.
    #[track_caller]
    fn check_nothing_left(&self) {
        self.check_sound();
        let list = self.git(&["worktree", "list", "--porcelain"]);
        assert!(!list.contains(".conductor"), "{list}");
        assert!(!self.top.join(".git/worktrees").exists(), "git removes the folder with its last worktree");
        assert!(!self.top.join(".git/conductor").exists(), "the area of unfinished things is empty");
        let left: Vec<_> = fs::read_dir(self.workspaces()).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[track_caller]
    fn check_sound(&self) {
        let said = self.git(&["fsck", "--strict", "--no-dangling"]);
        assert_eq!(said, "");
        assert!(!self.top.join(".git/index.lock").exists());
    }

    /// The files in a commit.
    fn files(&self, commit: &str) -> Vec<String> {
        self.git(&["ls-tree", "-r", "--name-only", commit]).lines().map(str::to_owned).collect()
    }

    fn show(&self, commit: &str, path: &str) -> String {
        self.git(&["show", &format!("{commit}:{path}")])
    }
}

/// Every test runs git as if its user had configured nothing.
fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "Test").env(format!("GIT_{name}_EMAIL"), "test@localhost");
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.env_remove("GIT_DIR").args(arguments).current_dir(dir);
    command
}

fn output(dir: &Path, arguments: &[&str]) -> Output {
    command(dir, arguments).output().unwrap()
}

#[track_caller]
fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = output(dir, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn path(text: impl AsRef<[u8]>) -> WorkspacePath {
    WorkspacePath::new(text).unwrap()
}

fn paths(texts: &[&str]) -> Vec<WorkspacePath> {
    texts.iter().map(path).collect()
}

/// Writes files into a worktree, as conductor does before it takes the snapshot.
fn fill(place: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn trailers(task: &str) -> Trailers {
    Trailers { task: task.to_owned(), run: "20261125-120000-1".to_owned(), key: "ab".repeat(32) }
}

impl Ground {
    /// A file of a task's result, in a folder of its own.
    fn made(&self, name: &str, content: impl AsRef<[u8]>) -> Content {
        let from = self.top.join("../made").join(name);
        fs::create_dir_all(from.parent().unwrap()).unwrap();
        fs::write(&from, content).unwrap();
        Content::File { from, executable: false, expected: None }
    }

    /// A commit of the task `task` that needs the branches of `needs`, on its branch.
    fn task(&self, task: &str, entries: &[(WorkspacePath, Content)], needs: &[&str]) -> String {
        let repository = self.repository();
        let needs: Vec<String> =
            needs.iter().map(|need| repository.branch_tip(&branch_name(need)).unwrap().unwrap()).collect();
        let commit = Commit { entries, needs: &needs, title: "A title", trailers: &trailers(task) };
        let commit = repository.commit(&commit).unwrap();
        let old = repository.branch_tip(&branch_name(task)).unwrap();
        repository.set_branch(&branch_name(task), old.as_deref(), Some(&commit)).unwrap();
        commit
    }

    /// As [`Self::task`], of files with their content.
    fn task_of(&self, task: &str, files: &[(&str, &str)]) -> String {
        let entry =
            |(name, content): &(&str, &str)| (path(name), self.made(&format!("{task}/{name}"), content));
        self.task(task, &files.iter().map(entry).collect::<Vec<_>>(), &[])
    }
}

/// A name that is no UTF-8.
fn strange() -> &'static OsStr {
    OsStr::from_bytes(b"str\xffnge")
}
