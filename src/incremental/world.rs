//! What only the machine can tell: the caller's variables, and which tools are there.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::model::{Command, Digest, EnvValue, Task, ToolKind};
use crate::store::Programs;
use crate::workspace::{digest_file, settled_signature};

/// conductor's own environment, read once at the start.
#[derive(Clone, Debug, Default)]
pub struct Caller(pub BTreeMap<OsString, OsString>);

impl Caller {
    /// A variable as text, where it is set and UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str()).map(str::to_owned)
    }
}

/// Runs a `tools` command and gives what it printed, or why it could not.
pub type ToolRunner = Box<dyn Fn(&Task, &Command) -> Result<String, String>>;

/// What stands in a key for a tool that is not there. A task that needs one never runs, so no result is
/// ever recorded under it.
pub(super) const MISSING: &str = "(missing)";

/// Answers questions about the machine, each once.
pub(super) struct World {
    pub(super) caller: Caller,
    run: Option<ToolRunner>,
    /// What earlier sessions read.
    pub(super) kept: Programs,
    programs: HashMap<PathBuf, String>,
    commands: HashMap<String, Result<String, String>>,
}

impl World {
    pub(super) fn new(caller: Caller, run: Option<ToolRunner>, kept: Programs) -> Self {
        Self { caller, run, kept, programs: HashMap::new(), commands: HashMap::new() }
    }

    /// The declared variables with their values.
    pub(super) fn env(&self, task: &Task) -> Vec<(String, Option<String>)> {
        task.env
            .iter()
            .map(|variable| {
                let value = match &variable.value {
                    EnvValue::Literal(value) => Some(value.clone()),
                    EnvValue::Caller => self.caller.text(&variable.name),
                };
                (variable.name.clone(), value)
            })
            .collect()
    }

    /// The declared tools with what identifies them. A command that may not run here (`check` runs none) is
    /// answered by what was recorded; a program too, where that is `told`.
    pub(super) fn tools(
        &mut self,
        task: &Task,
        root: &Path,
        recorded: &[(String, String)],
        told: bool,
    ) -> Vec<(String, String)> {
        let value =
            |name: &str| recorded.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        task.tools
            .iter()
            .map(|tool| {
                let known = value(&tool.name).filter(|_| told);
                let identity = match &tool.kind {
                    _ if let Some(known) = known => known,
                    ToolKind::Program(name) => self.program(name, &task.dir.under(root)),
                    ToolKind::Command(command) if self.run.is_some() => self.command(task, command),
                    ToolKind::Command(_) => value(&tool.name).unwrap_or_else(|| "(not run)".to_owned()),
                };
                (tool.name.clone(), identity)
            })
            .collect()
    }

    fn program(&mut self, name: &str, dir: &Path) -> String {
        let path = self.caller.0.get(std::ffi::OsStr::new("PATH")).map(OsString::as_os_str);
        let Some(found) = crate::process::find_program(std::ffi::OsStr::new(name), path, dir) else {
            return MISSING.to_owned();
        };
        let kept = &mut self.kept;
        let identity =
            |found: &PathBuf| digest(kept, found).map_or(MISSING.to_owned(), |digest| digest.to_hex());
        self.programs.entry(found).or_insert_with_key(identity).clone()
    }

    fn command(&mut self, task: &Task, command: &Command) -> String {
        let key = format!("{:?} {:?} {:?}", command, task.dir, task.env);
        if !self.commands.contains_key(&key) {
            let answer =
                self.run.as_ref().map_or_else(|| Err("not run".to_owned()), |run| run(task, command));
            self.commands.insert(key.clone(), answer);
        }
        match self.commands.get(&key) {
            Some(Ok(text)) => text.trim().to_owned(),
            Some(Err(_)) | None => MISSING.to_owned(),
        }
    }
}

/// The digest of a program, which is read only if its signature is not the one under which it was last read.
fn digest(kept: &mut Programs, program: &Path) -> Option<Digest> {
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

/// Does this identity stand for a tool that is not there?
pub(super) fn is_missing(identity: &str) -> bool {
    identity == MISSING
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
