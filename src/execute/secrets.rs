//! The values that must never leave: which they are for a task, and whether something holds one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aho_corasick::AhoCorasick;

use super::RunContext;
use crate::incremental::Caller;
use crate::model::{Task, Work};
use crate::process::secret_forms;

impl RunContext {
    /// The values of the task's secrets, and of those that its agent's program is given.
    pub(super) fn secrets(&self, task: &Task) -> Vec<Vec<u8>> {
        let adapter = match &task.work {
            Work::Agent(agent) => self.agents.adapter(&agent.adapter),
            _ => None,
        };
        let of_adapter = adapter.iter().flat_map(|adapter| &adapter.secrets);
        values(task.secrets.iter().chain(of_adapter).map(String::as_str), &self.caller)
    }
}

/// The values that the caller has for these names; an empty one hides nothing.
pub(super) fn values<'a>(names: impl Iterator<Item = &'a str>, caller: &Caller) -> Vec<Vec<u8>> {
    let values = names.filter_map(|name| caller.0.get(OsStr::new(name)));
    values.map(|value| value.as_bytes().to_vec()).filter(|value| !value.is_empty()).collect()
}

/// Looks for secrets, in all forms that give them away.
pub(super) struct Finder(AhoCorasick);

impl Finder {
    /// None where there is nothing to look for.
    pub(super) fn new(secrets: &[Vec<u8>]) -> Option<Self> {
        let forms: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| secret_forms(secret)).collect();
        // Only gigabytes of secrets could not be looked for.
        (!forms.is_empty()).then(|| AhoCorasick::new(forms).ok()).flatten().map(Self)
    }

    /// Does this hold one?
    pub(super) fn finds(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// Does a file or a link anywhere in this folder hold one, or its name? What cannot be read may.
    pub(super) fn finds_below(&self, folder: &Path) -> bool {
        let Ok(entries) = std::fs::read_dir(folder) else { return folder.exists() };
        entries.flatten().any(|entry| {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { return true };
            self.finds(entry.file_name().as_bytes())
                || match () {
                    () if kind.is_dir() => self.finds_below(&path),
                    () if kind.is_symlink() => {
                        std::fs::read_link(&path).map_or(true, |text| self.finds(text.as_os_str().as_bytes()))
                    }
                    () if kind.is_file() => std::fs::read(&path).map_or(true, |bytes| self.finds(&bytes)),
                    () => false,
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_place() {
        let finder = Finder::new(&[b"p\"w.d$value".to_vec()]).unwrap();
        assert!(finder.finds(b"x p\"w.d$value y"));
        assert!(finder.finds(br#"{"key":"p\"w.d$value"}"#));
        assert!(finder.finds(b"YWJwIncuZCR2YWx1ZQ=="), "base64 of it behind two bytes");
        assert!(!finder.finds(b"p\"wxd$value"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        assert!(!finder.finds_below(dir.path()));
        std::os::unix::fs::symlink("p\"w.d$value", dir.path().join("a/b/link")).unwrap();
        assert!(finder.finds_below(dir.path()));
        assert!(Finder::new(&[]).is_none());
    }
}
