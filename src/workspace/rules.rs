//! The rules that say which files a walk leaves out, as git has them: a file's fate is decided by the last
//! matching line of the nearest `.gitignore` that has one, `.git/info/exclude` comes after all of
//! them, and a nested repository knows none of the outer rules. `.conductorignore` speaks the same
//! language, goes first, and is not stopped by a repository's edge.
//!
//! The user's own excludes (`core.excludesFile`) are left out on purpose: keys must not depend on the
//! machine.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{CWD, Mode, OFlags};

const GIT_RULES: &[u8] = b".gitignore";
const OWN_RULES: &[u8] = b".conductorignore";

/// The rules of one folder, chained to those of the folders above it.
pub(super) struct Rules {
    parent: Option<Arc<Rules>>,
    scope: Scope,
    /// From `.gitignore`, or from `info/exclude` at the end of the chain.
    git: Gitignore,
    /// From `.conductorignore`.
    own: Gitignore,
    /// The top of a repository: git's rules from further up do not hold here.
    repository: bool,
}

/// The folder to which the patterns of the rules are relative.
enum Scope {
    /// A folder inside the workspace, whose path (with its `/`) is this long.
    Inside(usize),
    /// A folder above the workspace, from which the workspace has this path (with its `/`).
    Above(Vec<u8>),
}

impl Rules {
    /// Does an entry of this name in a folder give it rules of its own?
    pub(super) fn come_from(name: &[u8]) -> bool {
        matches!(name, GIT_RULES | OWN_RULES | b".git")
    }

    /// The rules from above the workspace: those of its repository, where it is part of one.
    pub(super) fn above(root: &Path) -> Arc<Self> {
        let Some(top) = root.ancestors().find(|folder| is_repository(folder)) else {
            return Arc::new(Self::bare(None, Scope::Inside(0)));
        };
        let mut rules = Self::bare(None, Scope::Above(path_between(top, root)));
        rules.git =
            exclude_file(&top.join(".git")).map_or_else(Gitignore::empty, |file| parse(&read(CWD, &file)));
        let mut rules = Arc::new(rules);
        // The workspace's own files are read as those of any other folder in it.
        let mut between: Vec<&Path> = root.ancestors().skip(1).take_while(|at| at.starts_with(top)).collect();
        between.reverse();
        for folder in between {
            let mut next = Self::bare(Some(Arc::clone(&rules)), Scope::Above(path_between(folder, root)));
            next.git = parse(&read(CWD, &folder.join(".gitignore")));
            next.own = parse(&read(CWD, &folder.join(".conductorignore")));
            rules = Arc::new(next);
        }
        rules
    }

    fn bare(parent: Option<Arc<Self>>, scope: Scope) -> Self {
        Self { parent, scope, git: Gitignore::empty(), own: Gitignore::empty(), repository: false }
    }

    /// The rules inside `folder`, which lies below the workspace root `dir`.
    pub(super) fn enter(self: &Arc<Self>, dir: &OwnedFd, folder: &[u8]) -> Arc<Self> {
        let mut prefix = folder.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let file = |name: &[u8]| PathBuf::from(OsStr::from_bytes(&[&prefix, name].concat()));
        let git = parse(&read(dir, &file(GIT_RULES)));
        let own = parse(&read(dir, &file(OWN_RULES)));
        // The workspace's own repository begins above its own rules, together with its excludes.
        let repository = !folder.is_empty()
            && rustix::fs::accessat(
                dir,
                file(b".git"),
                rustix::fs::Access::EXISTS,
                rustix::fs::AtFlags::empty(),
            )
            .is_ok();
        if git.is_empty() && own.is_empty() && !repository {
            return Arc::clone(self);
        }
        Arc::new(Self {
            parent: Some(Arc::clone(self)),
            scope: Scope::Inside(prefix.len()),
            git,
            own,
            repository,
        })
    }

    /// Is the entry at `path`, whose folder has these rules, left out? That its folder is not, is given.
    pub(super) fn ignores(&self, path: &[u8], is_folder: bool) -> bool {
        let mut outside = false;
        let mut inside = self.chain().take_while(|rules| !std::mem::replace(&mut outside, rules.repository));
        self.chain()
            .find_map(|rules| rules.scope.judge(&rules.own, path, is_folder))
            .or_else(|| inside.find_map(|rules| rules.scope.judge(&rules.git, path, is_folder)))
            .unwrap_or(false)
    }

    /// These rules and those above them, nearest first.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |rules| rules.parent.as_deref())
    }
}

impl Scope {
    /// What the last of `lines` that matches says of `path`: left out, or not; nothing where none does.
    fn judge(&self, lines: &Gitignore, path: &[u8], is_folder: bool) -> Option<bool> {
        if lines.is_empty() {
            return None;
        }
        match lines.matched(self.path(path), is_folder) {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        }
    }

    /// `path`, as patterns of this scope see it.
    fn path<'a>(&self, path: &'a [u8]) -> Cow<'a, Path> {
        match self {
            Self::Inside(length) => {
                Path::new(OsStr::from_bytes(path.get(*length..).unwrap_or_default())).into()
            }
            Self::Above(prefix) => PathBuf::from(OsStr::from_bytes(&[prefix, path].concat())).into(),
        }
    }
}

fn path_between(folder: &Path, root: &Path) -> Vec<u8> {
    let mut path =
        root.strip_prefix(folder).map(|path| path.as_os_str().as_bytes().to_vec()).unwrap_or_default();
    if !path.is_empty() {
        path.push(b'/');
    }
    path
}

/// A folder with a `.git` in it that git would take for a repository, or for a worktree of one.
fn is_repository(folder: &Path) -> bool {
    let git = folder.join(".git");
    git.is_file() || git.join("HEAD").exists()
}

/// Where `info/exclude` is kept: in the repository's common folder, to which a worktree's `.git` leads.
fn exclude_file(git: &Path) -> Option<PathBuf> {
    if git.is_dir() {
        return Some(git.join("info/exclude"));
    }
    let text = std::fs::read_to_string(git).ok()?;
    let folder = git.parent()?.join(text.strip_prefix("gitdir:")?.trim());
    let common = std::fs::read_to_string(folder.join("commondir")).unwrap_or_default();
    Some(folder.join(common.trim()).join("info/exclude"))
}

/// The content of a file of rules; nothing where there is none. As in git, a link is none.
fn read(dir: impl rustix::fd::AsFd, path: &Path) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut content = Vec::new();
    let _: io::Result<usize> = rustix::fs::openat(dir, path, flags, Mode::empty())
        .map_err(Into::into)
        .and_then(|file| File::from(file).read_to_end(&mut content));
    content
}

/// Lines that are no pattern are passed over, as git does.
fn parse(content: &[u8]) -> Gitignore {
    if content.is_empty() {
        return Gitignore::empty();
    }
    let mut builder = GitignoreBuilder::new("");
    for line in content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).split(|byte| *byte == b'\n') {
        let _ = builder.add_line(None, &in_globset_dialect(&String::from_utf8_lossy(line)));
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// To git, `{a,b}` is just a name with braces in it.
fn in_globset_dialect(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let (mut escaped, mut in_class) = (false, false);
    for char in line.chars() {
        if !escaped && !in_class && matches!(char, '{' | '}') {
            text.push('\\');
        }
        in_class = !escaped && (char == '[' || (in_class && char != ']'));
        escaped = !escaped && char == '\\';
        text.push(char);
    }
    text
}
