//! Runs a task that is fresh once more, apart, and compares what it makes with what is recorded. Nothing is brought
//! into the tree and nothing is recorded, whatever comes of it.

use std::os::unix::ffi::OsStringExt as _;

use super::command::{Call, Paths};
use super::command_result::{complaint, spawn_refusal};
use super::exec_root::{IsolatedDir, NotReady};
use super::outcome::Refusal;
use super::{RunContext, exec_root};
use crate::incremental::Assignment;
use crate::model::{Entry, EntryKind, Record, Signature, Work, WorkspacePath};
use crate::process::End;
use crate::workspace::Root;

/// A path at which two runs of one key left something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where.
    pub path: WorkspacePath,
    /// What is recorded.
    pub recorded: Entry,
    /// What it made this time.
    pub again: Entry,
    /// The first line that differs, where both are text.
    pub line: Option<DifferentLine>,
}

/// The first line at which two texts differ. One that ended before has none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DifferentLine {
    /// From 1.
    pub number: usize,
    /// As it is recorded.
    pub recorded: Option<String>,
    /// As it came out this time.
    pub again: Option<String>,
}

/// What came of it.
pub enum Repeated {
    /// It ran; where it made something else.
    Compared(Vec<Difference>),
    /// An input is no longer what it was: there is nothing to compare with.
    Moved,
    /// It did not succeed apart, or could not be started there.
    Failed(String),
    /// Somebody stopped it.
    Stopped,
}

/// Texts above this size are not compared line by line.
const LONGEST_TEXT: usize = 4 << 20;

/// Of a line so much is shown.
const LONGEST_LINE: usize = 160;

/// Runs the task of the assignment, which says where, and compares with its record.
pub fn repeat(context: &RunContext, assignment: &Assignment, record: &Record) -> Repeated {
    let mut isolated = match IsolatedDir::prepare(context, assignment) {
        Ok(isolated) => isolated,
        Err(NotReady::Moved(_)) => return Repeated::Moved,
        Err(NotReady::Failed(error)) => return Repeated::Failed(error.to_string()),
    };
    let compared = run(context, assignment, record, &mut isolated);
    isolated.remove();
    match compared {
        Ok(differences) => Repeated::Compared(differences),
        Err(refusal) if refusal.cancelled => Repeated::Stopped,
        Err(refusal) => Repeated::Failed(refusal.message),
    }
}

fn run(
    context: &RunContext,
    assignment: &Assignment,
    record: &Record,
    isolated: &mut IsolatedDir,
) -> Result<Vec<Difference>, Box<Refusal>> {
    let task = &assignment.task;
    let Work::Run(command) = &task.work else {
        return Err(Box::new(Refusal::new("only commands are run again")));
    };
    isolated.bring_copies(context, &task.copy)?;
    isolated.set_up(context, assignment)?;
    isolated.mark()?;
    let paths = Paths::new(task, &assignment.action);
    let log = context.log(&task.id, Some("verify"));
    let exec_root = &isolated.exec_root;
    let call =
        Call { context, exec_root, task, command, paths: &paths, log, stall: task.stall, is_work: false };
    let ended = call.run().map_err(|error| spawn_refusal(&error))?;
    if let Some(message) = complaint(task, &ended) {
        let cancelled = matches!(ended.end, End::Cancelled | End::Stopped);
        let said = String::from_utf8_lossy(&ended.tail).trim_end().to_owned();
        let message = format!("{message}\n{said}").trim_end().to_owned();
        return Err(Box::new(Refusal { cancelled, ..Refusal::new(message) }));
    }
    let foreign = |path: &WorkspacePath, now: &Signature| isolated.is_copied(path, now);
    let made = exec_root::outputs(context, &isolated.exec_root.dir, task, foreign)
        .map_err(|message| Box::new(Refusal::new(message)))?;
    let mut again: Vec<(WorkspacePath, Entry)> =
        made.into_iter().map(|(path, seen)| (path, seen.entry)).collect();
    let mut before: Vec<(WorkspacePath, Entry)> =
        record.outputs.iter().map(|output| (output.path.clone(), output.entry)).collect();
    again.extend(isolated.edited(assignment)?.into_iter().map(|change| (change.path, change.after)));
    before.extend(record.edited.iter().map(|edited| (edited.path.clone(), edited.after)));
    Ok(compare(context, record, &isolated.exec_root.dir, &before, &again))
}

fn compare(
    context: &RunContext,
    record: &Record,
    isolated: &Root,
    before: &[(WorkspacePath, Entry)],
    again: &[(WorkspacePath, Entry)],
) -> Vec<Difference> {
    let mut paths: Vec<&WorkspacePath> = before.iter().chain(again).map(|(path, _)| path).collect();
    paths.sort();
    paths.dedup();
    let at = |list: &[(WorkspacePath, Entry)], path: &WorkspacePath| {
        list.iter().find(|(other, _)| other == path).map_or_else(Entry::absent, |(_, entry)| *entry)
    };
    let differing = paths.into_iter().map(|path| (path, at(before, path), at(again, path)));
    differing
        .filter(|(_, recorded, again)| recorded != again)
        .map(|(path, recorded, again)| {
            let old = recorded_bytes(context, record, path, &recorded);
            let new = bytes_at(isolated, path, &again);
            let line = old.zip(new).and_then(|(old, new)| first_difference(&old, &new));
            Difference { path: path.clone(), recorded, again, line }
        })
        .collect()
}

/// The bytes of a recorded state: from the tree where it is there, else from the objects.
fn recorded_bytes(
    context: &RunContext,
    record: &Record,
    path: &WorkspacePath,
    entry: &Entry,
) -> Option<Vec<u8>> {
    if !record.on_branch && context.tree.observe(path).entry == *entry {
        return bytes_at(&context.tree, path, entry);
    }
    if entry.kind == EntryKind::File { context.objects.read(entry).ok() } else { None }
}

fn bytes_at(workspace: &Root, path: &WorkspacePath, entry: &Entry) -> Option<Vec<u8>> {
    let place = path.under(workspace.root());
    match entry.kind {
        EntryKind::File => {
            let size = place.metadata().ok()?.len();
            (size <= LONGEST_TEXT as u64).then(|| std::fs::read(place).ok())?
        }
        EntryKind::Link => std::fs::read_link(place).ok().map(|text| text.into_os_string().into_vec()),
        _ => None,
    }
}

/// The first line that differs; none where one of them is no text, or where they do not differ in their text.
fn first_difference(old: &[u8], new: &[u8]) -> Option<DifferentLine> {
    let text = |bytes: &[u8]| {
        let short = bytes.len() <= LONGEST_TEXT && !bytes.contains(&0);
        short.then(|| std::str::from_utf8(bytes).ok().map(str::to_owned))?
    };
    let (old, new) = (text(old)?, text(new)?);
    let (mut olds, mut news) = (old.split('\n'), new.split('\n'));
    let cut = |line: Option<&str>| line.map(|line| line.chars().take(LONGEST_LINE).collect());
    let mut number = 0;
    loop {
        number += 1;
        let (recorded, again) = (olds.next(), news.next());
        if recorded != again {
            return Some(DifferentLine { number, recorded: cut(recorded), again: cut(again) });
        }
        recorded?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, expected: Option<(usize, Option<&str>, Option<&str>)>) {
        let found = first_difference(old.as_bytes(), new.as_bytes());
        let expected = expected.map(|(number, recorded, again)| DifferentLine {
            number,
            recorded: recorded.map(str::to_owned),
            again: again.map(str::to_owned),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_line_that_differs_is_found() {
        check("a\nb\n", "a\nc\n", Some((2, Some("b"), Some("c"))));
        check("a\n", "a\n", None);
        check("a\n", "a", Some((2, Some(""), None)));
        check("", "x", Some((1, Some(""), Some("x"))));
        check("a\0", "b", None);
    }
}
