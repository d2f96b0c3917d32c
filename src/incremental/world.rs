//! What only the machine can tell: the caller's variables, and which tools are there.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::model::{Command, EnvValue, Task, ToolKind};

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
    programs: HashMap<PathBuf, String>,
    commands: HashMap<String, Result<String, String>>,
}

impl World {
    pub(super) fn new(caller: Caller, run: Option<ToolRunner>) -> Self {
        Self { caller, run, programs: HashMap::new(), commands: HashMap::new() }
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
    /// answered by what was recorded.
    pub(super) fn tools(
        &mut self,
        task: &Task,
        root: &Path,
        recorded: &[(String, String)],
    ) -> Vec<(String, String)> {
        let value =
            |name: &str| recorded.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        task.tools
            .iter()
            .map(|tool| {
                let identity = match &tool.kind {
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
        self.programs
            .entry(found)
            .or_insert_with_key(|found| {
                crate::workspace::digest_file(found).map_or(MISSING.to_owned(), |d| d.to_hex())
            })
            .clone()
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

/// Does this identity stand for a tool that is not there?
pub(super) fn is_missing(identity: &str) -> bool {
    identity == MISSING
}
