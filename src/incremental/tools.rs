//! Tools: which program a declared name means on the task's own PATH, and whether it still is the same one.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::caller::Caller;
use crate::model::{Digest, EnvValue, Signature, Task};
use crate::process::find_program;
use crate::store::Programs;
use crate::workspace::{digest_file, link_at, settled_signature, signature_and_links};

/// A program as it was when a key was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolSeen {
    /// As the task knows the tool.
    pub name: String,
    lookup: Lookup,
    found: Option<PathBuf>,
    /// Of the program itself, links followed; with its number of hard links.
    seen: Option<(Signature, u64)>,
    /// The links on the way to it: one that was turned and turned back is another one.
    links: Vec<(PathBuf, Signature)>,
}

/// Where a program is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Lookup {
    program: OsString,
    path: Option<OsString>,
    dir: PathBuf,
}

impl ToolSeen {
    /// Looks for `program` where the commands of `task` would find it.
    pub(super) fn look(name: &str, program: &str, task: &Task, root: &Path, caller: &Caller) -> Self {
        let lookup =
            Lookup { program: program.into(), path: path_of(task, caller), dir: task.dir.under(root) };
        let found = lookup.find();
        let seen = found.as_deref().and_then(signature_and_links);
        let links = found.as_deref().map(links_on_the_way).unwrap_or_default();
        Self { name: name.to_owned(), lookup, found, seen, links }
    }

    /// The program at `place`, which is called `name`.
    pub fn at(name: &str, place: &Path) -> Self {
        let lookup = Lookup { program: place.into(), path: None, dir: PathBuf::new() };
        let (seen, links) = (signature_and_links(place), links_on_the_way(place));
        Self { name: name.to_owned(), lookup, found: Some(place.to_owned()), seen, links }
    }

    /// The program's place.
    pub fn found(&self) -> Option<&Path> {
        self.found.as_deref()
    }

    /// Would the same name lead to the same program, unchanged? Another hard link to it is no change.
    pub fn is_same(&self) -> bool {
        let found = self.lookup.find();
        if found != self.found || found.as_deref().is_some_and(|found| links_on_the_way(found) != self.links)
        {
            return false;
        }
        let now = found.as_deref().and_then(signature_and_links);
        match (&self.seen, &now) {
            (Some((before, links)), Some((now, links_now))) if links != links_now => {
                Signature { ctime_ns: 0, ..*before } == Signature { ctime_ns: 0, ..*now }
            }
            (before, now) => before == now,
        }
    }
}

impl Lookup {
    fn find(&self) -> Option<PathBuf> {
        find_program(&self.program, self.path.as_deref(), &self.dir)
    }
}

/// The links that are followed on the way to an absolute path, each with its own signature.
fn links_on_the_way(path: &Path) -> Vec<(PathBuf, Signature)> {
    /// The kernel follows no more.
    const MOST: usize = 40;
    let mut links = Vec::new();
    let mut left: Vec<OsString> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut at = PathBuf::new();
    while let Some(part) = left.pop() {
        let next = if part == ".." { at.parent().unwrap_or(&at).to_owned() } else { at.join(&part) };
        let Some((signature, target)) = link_at(&next).filter(|_| links.len() < MOST) else {
            at = next;
            continue;
        };
        links.push((next, signature));
        if target.is_absolute() {
            at = PathBuf::new();
        }
        left.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
    }
    links
}

/// The PATH of a task's commands: the declared one, else the caller's.
fn path_of(task: &Task, caller: &Caller) -> Option<OsString> {
    let callers = || caller.0.get(OsStr::new("PATH")).cloned();
    let declared = task.env.iter().rev().find(|variable| variable.name == "PATH");
    declared.map_or_else(callers, |variable| match &variable.value {
        EnvValue::Literal(value) => Some(value.into()),
        EnvValue::Caller => callers(),
    })
}

/// The digest of a program, which is read only if its signature is not the one under which it was last read.
pub(super) fn digest(kept: &mut Programs, program: &Path) -> Option<Digest> {
    let signature = settled_signature(program);
    if let Some(known) = signature.and_then(|signature| kept.digest(program, signature)) {
        return Some(known);
    }
    let digest = digest_file(program).ok()?;
    if let Some(signature) = signature {
        kept.learn(program, signature, digest);
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_once_and_then_only_if_its_signature_differs() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool");
        std::fs::write(&program, "one").unwrap();
        while settled_signature(&program).is_none() {
            std::thread::yield_now();
        }
        let mut kept = Programs::default();
        assert_eq!(digest(&mut kept, &program), Some(Digest::of(b"one")));
        let signature = settled_signature(&program).unwrap();
        assert_eq!(kept.digest(&program, signature), Some(Digest::of(b"one")));
        // Were it read again, this would be found out.
        kept.learn(&program, signature, Digest::of(b"not read"));
        assert_eq!(digest(&mut kept, &program), Some(Digest::of(b"not read")));
        std::fs::write(&program, "two").unwrap();
        assert_eq!(digest(&mut kept, &program), Some(Digest::of(b"two")));
    }

    #[test]
    fn a_program_that_was_just_written_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool");
        let mut kept = Programs::default();
        for round in 0..50 {
            let text = format!("{round:02}");
            std::fs::write(&program, &text).unwrap();
            assert_eq!(digest(&mut kept, &program), Some(Digest::of(text.as_bytes())));
        }
    }
}
