//! What an agent is told: the instructions as the task's key names them, and what earlier runs have to say.

use std::collections::BTreeMap;
use std::path::Path;

use super::session::Session;
use crate::agent::{self, Brief, NeededOutput};
use crate::incremental::Assignment;
use crate::model::{Input, Instructions, Piece, TaskId, Via, Work, WorkspacePath};

/// What the next run of a task's agent will be told, by a build that begins now. `folder` is `.conductor`.
pub fn next_prompt(folder: &Path, root: &Path, assignment: &Assignment) -> String {
    let read = |path: &WorkspacePath| {
        let content = std::fs::read(path.under(root)).map_err(|error| format!("({path}: {error})"))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    };
    prompt(&read, assignment, Session::kept(folder, assignment).as_ref()).unwrap_or_else(|error| error)
}

/// Reads a file with instructions, or says why there are none.
type ReadInstructions<'a> = &'a dyn Fn(&WorkspacePath) -> Result<String, String>;

/// What the next run of the agent's program is told.
pub(super) fn prompt(
    read_file: ReadInstructions<'_>,
    assignment: &Assignment,
    session: Option<&Session>,
) -> Result<String, String> {
    let Work::Agent(work) = &assignment.task.work else { return Ok(String::new()) };
    let inputs: Vec<WorkspacePath> = read(assignment);
    let needs = needed(assignment);
    let session = session.filter(|session| !session.runs.is_empty());
    match session.map(|session| (&session.id, &session.evidence)) {
        Some((Some(_), Some(evidence))) => return Ok(agent::feedback(evidence)),
        Some((Some(_), None)) => return Ok(agent::go_on()),
        Some((None, _)) | None => {}
    }
    let instructions = instructions(read_file, assignment, &work.instructions)?;
    let brief = Brief { task: &assignment.task, instructions: &instructions, inputs: &inputs, needs: &needs };
    Ok(match session {
        None => agent::prompt(&brief),
        Some(session) => {
            let evidence = session.evidence.clone().unwrap_or_default();
            agent::fresh_start(&brief, &evidence, &session.diff)
        }
    })
}

/// The files that the task reads and that no task makes.
fn read(assignment: &Assignment) -> Vec<WorkspacePath> {
    let is_read = |input: &&Input| input.from.is_none() && input.via != Via::Link && input.entry.exists();
    let inputs = assignment.action.inputs.iter().filter(is_read);
    inputs.map(|input| input.path.clone()).collect()
}

/// What other tasks have made for it.
fn needed(assignment: &Assignment) -> Vec<NeededOutput> {
    let made = assignment.action.inputs.iter().filter(|input| input.entry.exists());
    let made = made.filter_map(|input| Some((&input.path, input.from.as_ref()?)));
    let needed = assignment.action.needs.iter().map(|need| (&need.path, &need.from));
    let all = made.chain(needed).map(|(path, task)| (path.clone(), task.clone()));
    let all: BTreeMap<WorkspacePath, TaskId> = all.collect();
    all.into_iter().map(|(path, task)| NeededOutput { path, task, title: None }).collect()
}

/// The text of the instructions.
fn instructions(
    read_file: ReadInstructions<'_>,
    assignment: &Assignment,
    instructions: &Instructions,
) -> Result<String, String> {
    Ok(match instructions {
        Instructions::File(path) => read_file(path)?,
        Instructions::Text(template) => {
            let paths = |paths: Vec<String>| paths.join(" ");
            let named = || assignment.action.inputs.iter().filter(|input| input.is_named());
            let inputs = || named().map(|input| input.path.to_string()).collect();
            let outputs = || assignment.task.outputs.iter().map(|output| output.path.to_string()).collect();
            let value = |name: &str| {
                let mut found = assignment.action.env.iter().filter(|(other, _)| other == name);
                found.next().and_then(|(_, value)| value.clone()).unwrap_or_default()
            };
            template
                .0
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Env(name) => value(name),
                    Piece::Inputs => paths(inputs()),
                    Piece::Outputs => paths(outputs()),
                })
                .collect()
        }
    })
}
