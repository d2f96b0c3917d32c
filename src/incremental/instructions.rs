//! Unreadable instructions of agents. They are found before anything starts: an agent with an empty prompt costs
//! as much as any other, and its result would count.

use super::assess::Told;
use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{Diagnostic, EntryKind, Instructions, Task, Work, WorkspacePath};
use crate::workspace::{End, Globs};

impl Engine {
    /// A diagnostic for each task of `scope` (observed) whose instructions are a file that is not there or cannot be
    /// read, unless a task that it depends on makes the file. Instances of a matrix share theirs.
    pub fn unreadable_instructions(&mut self, scope: &[TaskIndex]) -> Vec<Diagnostic> {
        let mut told = Told::default();
        let mut errors = Vec::new();
        for index in scope.iter().copied().filter(|index| self.plan.is_agent(*index)).collect::<Vec<_>>() {
            let Ok(task) = self.plan.task(index) else { continue };
            let Work::Agent(work) = &task.work else { continue };
            let Instructions::File(path) = &work.instructions else { continue };
            let Some(problem) = self.unreadable(path) else { continue };
            if !self.is_made_before(index, path) && told.is_new(&task.id, &path.to_text()) {
                errors.push(self.diagnostic(&task, path, problem));
            }
        }
        errors
    }

    /// Why a file cannot be read; none if it can.
    fn unreadable(&mut self, path: &WorkspacePath) -> Option<&'static str> {
        let id = self.look_at(path);
        let row = self.state.file(id)?;
        if row.signature.is_folder() {
            return Some("is a folder");
        }
        match row.entry.kind {
            EntryKind::Absent => Some("does not exist"),
            EntryKind::Folder => Some("is a folder"),
            EntryKind::Special => Some("is no file"),
            EntryKind::Unreadable => Some("cannot be read"),
            EntryKind::File => None,
            EntryKind::Link => match self.workspace.follow(path).end {
                End::File(target) => match self.workspace.observe(&target).entry.kind {
                    EntryKind::Special => Some("is a link to what is no file"),
                    EntryKind::Unreadable => Some("is a link to a file that cannot be read"),
                    _ => None,
                },
                End::Folder(_) | End::Around(_) => Some("is a link to a folder"),
                End::Missing(_) | End::Circle => Some("is a link that leads nowhere"),
                End::Outside => None,
            },
        }
    }

    /// True if a task that it depends on declares the file, or may create it under `edits`.
    fn is_made_before(&self, index: TaskIndex, path: &WorkspacePath) -> bool {
        let edits = |task: &Task| Globs::new(&task.edits).is_ok_and(|globs| globs.matches(path));
        let carrying = self.plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs());
        let mut editors = carrying.map(|(dep, _)| dep).filter(|dep| self.plan.edits(*dep));
        self.declared_by_dependencies(index).holds(path)
            || editors.any(|dep| self.plan.task(dep).is_ok_and(|task| edits(&task)))
    }

    fn diagnostic(&self, task: &Task, path: &WorkspacePath, problem: &str) -> Diagnostic {
        let named = task.inputs.iter().find(|pattern| pattern.literal.as_ref() == Some(path));
        let at = named.map_or(task.work_at, |pattern| pattern.at);
        let help = match self.alike(path) {
            Some(alike) => format!("did you mean `{alike}`?"),
            None => "write the file, or correct the path under `instructions`".to_owned(),
        };
        Diagnostic::error(
            "build::no_instructions",
            format!("{path}, the instructions of {}, {problem}", task.id),
        )
        .label(at, problem)
        .help(help)
    }

    /// A file beside `path` whose name is nearly the same.
    fn alike(&self, path: &WorkspacePath) -> Option<WorkspacePath> {
        let folder = path.parent()?;
        let files = self.workspace.walk(std::slice::from_ref(&folder)).paths;
        let beside = files.into_iter().filter(|file| file.parent().as_ref() == Some(&folder) && file != path);
        let distance = |file: &WorkspacePath| strsim::damerau_levenshtein(&file.to_text(), &path.to_text());
        let best = beside.map(|file| (distance(&file), file)).min()?;
        let longest = path.name().map_or(0, <[u8]>::len) / 3 + 1;
        (best.0 <= longest).then_some(best.1)
    }
}
