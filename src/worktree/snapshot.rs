//! What a task sees, as a commit: so that `git status`, `git diff` and `git restore` in its worktree speak of what
//! the task did.
//!
//! The bytes on disk are the bytes in the tree: no filter, no line end conversion. `git status` is
//! clean all the same, because it trusts the stat data in the index; for that every file must be older than the
//! index, so files that were just written get a time two seconds back.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use git2::{Index, IndexEntry, Oid};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::index::{EXECUTABLE, FILE, LINK, index_entry};
use super::{Error, Linked, blob, commit};
use crate::model::WorkspacePath;

/// git compares whole seconds, so that a file must be a second older than the index at least.
const OLDER: i64 = 2;

impl Linked {
    /// Takes the files and links `files`, which must be in the folder now, as what the task sees: makes a commit of exactly
    /// them, without parents, lets the worktree's HEAD stand there and writes its index. Folders among them are
    /// passed over (git has no empty ones), files that git ignores are not. The same files make the same commit. Returns it.
    ///
    /// Files younger than two seconds get an older modification time.
    ///
    /// # Errors
    /// A file is not there, or is something that git cannot hold: a socket, or a file named `.git`.
    pub fn snapshot<'a>(&self, files: impl IntoIterator<Item = &'a WorkspacePath>) -> Result<String, Error> {
        // Its own handle: the worktrees of several tasks are filled at the same time.
        let git = git2::Repository::open(&self.common_dir)
            .map_err(Error::git("open", self.common_dir.display()))?;
        let path = self.admin.dir.join("index");
        let mut index = Index::open(&path).map_err(Error::git("open", path.display()))?;
        index.clear().map_err(Error::git("clear", path.display()))?;
        let files: BTreeSet<&WorkspacePath> = files.into_iter().collect();
        let stamp = now() - OLDER;
        let mut folders = BTreeSet::new();
        for file in &files {
            self.check_folders(file, &mut folders)?;
            if let Some(entry) = self.entry(&git, file, stamp)? {
                let refused = |error: git2::Error| not_for_git(file, error.message());
                index.add(&entry).map_err(refused)?;
            }
        }
        let tree =
            index.write_tree_to(&git).map_err(Error::git("write the tree of", self.place.display()))?;
        let commit = commit::seen(&git, tree)?;
        self.set_head(commit)?;
        index.write().map_err(Error::git("write", path.display()))?;
        Ok(commit.to_string())
    }

    /// Are the parts of the path above `file` folders themselves? `known` are those that were looked at.
    fn check_folders(&self, file: &WorkspacePath, known: &mut BTreeSet<WorkspacePath>) -> Result<(), Error> {
        let above = std::iter::successors(file.parent(), WorkspacePath::parent);
        for folder in above.take_while(|folder| !folder.is_root()) {
            if known.contains(&folder) {
                break;
            }
            if !folder.under(&self.place).symlink_metadata().is_ok_and(|found| found.is_dir()) {
                return Err(not_for_git(file, &format!("`{folder}` is no folder")));
            }
            known.insert(folder);
        }
        Ok(())
    }

    /// The index's entry for a file or link, whose content is stored; none for a folder.
    fn entry(
        &self,
        git: &git2::Repository,
        file: &WorkspacePath,
        stamp: i64,
    ) -> Result<Option<IndexEntry>, Error> {
        let path = file.under(&self.place);
        let stat = || path.symlink_metadata().map_err(Error::io("read", &path));
        let before = stat()?;
        let kind = before.file_type();
        let (id, mode) = if kind.is_dir() {
            return Ok(None);
        } else if kind.is_symlink() {
            (blob::store_link(git, &path)?, LINK)
        } else if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
            return Err(not_for_git(file, "it is neither a file nor a link"));
        } else {
            (blob::store_as_is(git, &path)?, if before.mode() & 0o100 == 0 { FILE } else { EXECUTABLE })
        };
        if before.mtime() >= stamp {
            set_mtime(&path, stamp).map_err(Error::io("set the time of", &path))?;
        }
        Ok(Some(index_entry(file.as_bytes(), id, mode, &stat()?)))
    }

    fn set_head(&self, commit: Oid) -> Result<(), Error> {
        let head = self.admin.dir.join("HEAD");
        replace(&head, format!("{commit}\n").as_bytes()).map_err(Error::io("write", head))
    }

    /// Makes git in the worktree pass over `paths`, files and folders that are there and are no part of what the task
    /// sees (copied settings, dependencies).
    ///
    /// A linked worktree has no exclusions of its own by git's rules: git reads `info/exclude` of the common folder
    /// alone, and a worktree's configuration only where `extensions.worktreeConfig` is on. So they are written to
    /// `info/exclude` beside the worktree's index, behind what the user excludes everywhere, and
    /// named by the environment that this returns, to be given to the task. Where the repository has that extension, they are
    /// also in the worktree's own configuration, and hold for everyone.
    ///
    /// # Errors
    /// git's folder cannot be written.
    pub fn exclude<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a WorkspacePath>,
    ) -> Result<Vec<(&'static str, OsString)>, Error> {
        let git = git2::Repository::open(&self.common_dir)
            .map_err(Error::git("open", self.common_dir.display()))?;
        let config = git
            .config()
            .and_then(|mut config| config.snapshot())
            .map_err(Error::git("read", "its configuration"))?;
        let mut text = users_excludes(&config);
        for path in paths {
            text.extend(pattern(path));
        }
        let file = self.admin.dir.join("info/exclude");
        fs::create_dir_all(self.admin.dir.join("info")).map_err(Error::io("make the folder of", &file))?;
        replace(&file, &text).map_err(Error::io("write", &file))?;
        if config.get_bool("extensions.worktreeconfig").unwrap_or(false) {
            let own = self.admin.dir.join("config.worktree");
            let mut own = git2::Config::open(&own).map_err(Error::git("open", own.display()))?;
            if let Some(file) = file.to_str() {
                own.set_str("core.excludesFile", file)
                    .map_err(Error::git("set core.excludesFile in", file))?;
            }
        }
        Ok(vec![
            ("GIT_CONFIG_COUNT", "1".into()),
            ("GIT_CONFIG_KEY_0", "core.excludesFile".into()),
            ("GIT_CONFIG_VALUE_0", file.into()),
        ])
    }
}

fn not_for_git(file: &WorkspacePath, message: &str) -> Error {
    Error::NotForGit { path: file.as_path().to_owned(), message: message.to_owned() }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn set_mtime(path: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix("conductor-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// What the user excludes in every repository: `core.excludesFile`, or git's default for it.
fn users_excludes(config: &git2::Config) -> Vec<u8> {
    let default = || {
        let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Some(home("XDG_CONFIG_HOME").or_else(|| Some(home("HOME")?.join(".config")))?.join("git/ignore"))
    };
    let file = config.get_path("core.excludesfile").ok().or_else(default);
    let mut text = file.and_then(|file| fs::read(file).ok()).unwrap_or_default();
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    text
}

/// The pattern that matches `path` alone.
fn pattern(path: &WorkspacePath) -> Vec<u8> {
    let mut pattern = vec![b'/'];
    for byte in path.as_path().as_os_str().as_bytes() {
        match byte {
            b'*' | b'?' | b'[' | b']' | b'\\' | b' ' => pattern.extend([b'\\', *byte]),
            // A line cannot hold it; any one character is the nearest that can be said.
            b'\n' | b'\r' => pattern.push(b'?'),
            other => pattern.push(*other),
        }
    }
    pattern.push(b'\n');
    pattern
}
