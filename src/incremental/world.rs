//! Facts of this machine: the caller's variables, and the tools.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::caller::Caller;
use super::tools::{self, ToolSeen};
use crate::model::{Command, EnvValue, Task, ToolKind, WorkspacePath};
use crate::store::Programs;

/// Runs a `tools` command and returns its output, or the reason why it could not run.
pub type ToolRunner = Box<dyn Fn(&Task, &Command) -> Result<String, String>>;

/// Stands in a key for a tool that is not there. A task that needs one never runs, so no result is
/// ever recorded under it.
pub(super) const MISSING: &str = "(missing)";

/// Stands in a key for a tool that a needed task makes: its bytes are among the needed outputs.
const MADE: &str = "(made)";

/// The tools of a task as they are now.
#[derive(Default)]
pub(super) struct Tools {
    /// The identity of each, in the order declared.
    pub(super) values: Vec<(String, String)>,
    /// The programs behind them.
    pub(super) programs: Vec<ToolSeen>,
}

/// Answers questions about the machine.
pub(super) struct World {
    pub(super) caller: Caller,
    run: Option<ToolRunner>,
    /// Digests from earlier sessions.
    pub(super) kept: Programs,
    /// Outputs of commands, each with the program that it started.
    commands: HashMap<String, (Option<ToolSeen>, Result<String, String>)>,
}

impl World {
    pub(super) fn new(caller: Caller, run: Option<ToolRunner>, kept: Programs) -> Self {
        Self { caller, run, kept, commands: HashMap::new() }
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

    /// The declared tools with their identities, asked anew each time. A command that may not run here (`check` runs
    /// none) is answered from the record; a program too, if that is `told`. `is_made` says whether a
    /// file of the tree is made by a task that this one waits for: it is told by that task's result.
    pub(super) fn tools(
        &mut self,
        task: &Task,
        root: &Path,
        recorded: &[(String, String)],
        told: bool,
        is_made: impl Fn(&WorkspacePath) -> bool,
    ) -> Tools {
        let mut tools = Tools::default();
        for tool in &task.tools {
            let recorded = recorded.iter().find(|(other, _)| *other == tool.name).map(|(_, value)| value);
            let seen = || {
                let program = tool.program()?;
                Some(ToolSeen::look(&tool.name, program, task, root, &self.caller))
            };
            let seen = if told && recorded.is_some() { None } else { seen() };
            let in_tree = || {
                let found = seen.as_ref()?.found()?.strip_prefix(root).ok()?;
                WorkspacePath::new(found.as_os_str().as_bytes()).ok()
            };
            let place = tool.place(&task.dir).or_else(in_tree);
            let identity = match &tool.kind {
                _ if let Some(recorded) = recorded.filter(|_| told) => recorded.clone(),
                _ if place.is_some_and(|place| is_made(&place)) => MADE.to_owned(),
                ToolKind::Program(_) => seen.as_ref().map_or(MISSING.to_owned(), |seen| self.program(seen)),
                ToolKind::Command(command) if self.run.is_some() => {
                    self.command(task, command, seen.as_ref())
                }
                ToolKind::Command(_) => recorded.cloned().unwrap_or_else(|| "(not run)".to_owned()),
            };
            if identity != MADE {
                tools.programs.extend(seen.filter(|seen| seen.found().is_some()));
            }
            tools.values.push((tool.name.clone(), identity));
        }
        tools
    }

    fn program(&mut self, seen: &ToolSeen) -> String {
        let digest = seen.found().and_then(|found| tools::digest(&mut self.kept, found));
        digest.map_or(MISSING.to_owned(), |digest| digest.to_hex())
    }

    /// The declared commands that do not print any more what `recorded` says. All of them run again.
    pub(super) fn other_answers(&mut self, task: &Task, recorded: &[(String, String)]) -> Vec<String> {
        let Some(run) = &self.run else { return Vec::new() };
        let mut others = Vec::new();
        for (tool, (name, value)) in task.tools.iter().zip(recorded).filter(|(_, (_, value))| value != MADE) {
            let ToolKind::Command(command) = &tool.kind else { continue };
            let answer = run(task, command);
            let is_same = answer.as_ref().map_or(MISSING, |text| text.trim()) == value;
            if !is_same {
                others.push(name.clone());
                // The next task is told the new answer.
                self.commands.remove(&Self::question(task, command));
            }
        }
        others
    }

    fn question(task: &Task, command: &Command) -> String {
        format!("{:?} {:?} {:?}", command, task.dir, task.env)
    }

    /// The output of a command, which runs again if the program behind it is another one.
    fn command(&mut self, task: &Task, command: &Command, seen: Option<&ToolSeen>) -> String {
        let key = Self::question(task, command);
        let is_known = self.commands.get(&key).is_some_and(|(before, _)| before.as_ref() == seen);
        if !is_known {
            let answer =
                self.run.as_ref().map_or_else(|| Err("not run".to_owned()), |run| run(task, command));
            self.commands.insert(key.clone(), (seen.cloned(), answer));
        }
        match self.commands.get(&key) {
            Some((_, Ok(text))) => text.trim().to_owned(),
            Some((_, Err(_))) | None => MISSING.to_owned(),
        }
    }
}

/// Does this identity stand for a tool that is not there?
pub(super) fn is_missing(identity: &str) -> bool {
    identity == MISSING
}
