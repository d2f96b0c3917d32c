//! What an agent is told of its task: plain text, the same for the same task wherever it runs.

use std::fmt::Write as _;

use crate::model::{
    Check, CheckKind, Command, Isolation, Pattern, Piece, Sees, Task, TaskId, Template, WorkspacePath,
    format_duration,
};

/// How many paths of one kind are named.
const PATHS: usize = 100;
/// How many paths stand in place of `${inputs}` in a command that is shown.
const INLINE: usize = 10;

/// An output of a task that this one needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeededOutput {
    /// Where.
    pub path: WorkspacePath,
    /// Who made it.
    pub task: TaskId,
    /// That task's title.
    pub title: Option<String>,
}

/// All that a prompt is made of.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a> {
    /// The task: title, role, effort, outputs, edits, checks, isolation, network.
    pub task: &'a Task,
    /// Its instructions, with everything filled in.
    pub instructions: &'a str,
    /// The files that it reads, sorted.
    pub inputs: &'a [WorkspacePath],
    /// What the tasks that it needs have made, sorted by path.
    pub needs: &'a [NeededOutput],
}

/// The prompt of a session that begins.
pub fn prompt(brief: &Brief<'_>) -> String {
    let mut text = outline(brief);
    text.push_str("\nBegin now. When everything above holds, end with a short summary: what you made, and what a reviewer should know.\n");
    text
}

/// All of a prompt but its last paragraph.
pub(super) fn outline(brief: &Brief<'_>) -> String {
    let mut text = String::new();
    head(brief, &mut text);
    writes(brief, &mut text);
    reads(brief, &mut text);
    checks(brief, &mut text);
    rules(brief, &mut text);
    text
}

fn head(brief: &Brief<'_>, text: &mut String) {
    let task = brief.task;
    let title = task.title.as_deref().unwrap_or(task.id.as_str());
    let _ = writeln!(text, "# Task: {title}\n");
    if let Some(role) = task.role.as_deref().map(str::trim).filter(|role| !role.is_empty()) {
        let _ = writeln!(text, "Your role: {role}\n");
    }
    let _ = writeln!(text, "{}", brief.instructions.trim());
    if let Some(effort) = task.effort {
        let _ = writeln!(
            text,
            "\nThe task is meant to take about {}. Do what it asks for, and no more.",
            format_duration(effort)
        );
    }
    if !task.dir.is_root() {
        let up = vec![".."; task.dir.components().count()].join("/");
        let _ = writeln!(
            text,
            "\nYou start in the folder `{}`. Paths in this text are relative to the workspace, which is `{up}` from there.",
            task.dir.to_text()
        );
    }
}

fn writes(brief: &Brief<'_>, text: &mut String) {
    let task = brief.task;
    if !task.outputs.is_empty() {
        let outputs = task.outputs.iter().map(|output| {
            let path = output.path.to_text();
            let folder = if output.folder { "/ (a folder, with the files that belong there)" } else { "" };
            let optional = if output.optional { " (only if it is needed)" } else { "" };
            format!("{path}{folder}{optional}")
        });
        let _ = write!(
            text,
            "\n# What to write\n\nThe result is these files, at exactly these paths:\n\n{}",
            list(outputs, usize::MAX)
        );
    }
    if !task.edits.is_empty() {
        let _ = write!(
            text,
            "\n# What you may change\n\nFiles that match these patterns (`!` excludes; the last match counts); you may also create and delete such files:\n\n{}",
            list(task.edits.iter().map(written), usize::MAX)
        );
    }
}

fn reads(brief: &Brief<'_>, text: &mut String) {
    let needed = |path: &WorkspacePath| brief.needs.binary_search_by(|need| need.path.cmp(path)).is_ok();
    let inputs: Vec<&WorkspacePath> = brief.inputs.iter().filter(|path| !needed(path)).collect();
    if inputs.is_empty() && brief.needs.is_empty() {
        return;
    }
    text.push_str("\n# What to read\n");
    if !inputs.is_empty() {
        let what = if brief.task.sees == Sees::All {
            "The inputs of the task"
        } else {
            "The inputs of the task, which are all that is here"
        };
        let _ = write!(text, "\n{what}:\n\n{}", list(inputs.iter().map(|path| path.to_text()), PATHS));
    }
    if !brief.needs.is_empty() {
        let needs = brief.needs.iter().map(|need| {
            let by = need
                .title
                .as_deref()
                .map_or_else(|| need.task.as_str().to_owned(), |title| format!("{}: {title}", need.task));
            format!("{} (from {by})", need.path.to_text())
        });
        let _ = write!(
            text,
            "\nResults of earlier tasks. Build on them; do not change them:\n\n{}",
            list(needs, PATHS)
        );
    }
}

fn checks(brief: &Brief<'_>, text: &mut String) {
    let checks = &brief.task.validate;
    if checks.is_empty() {
        return;
    }
    text.push_str(
        "\n# What the result must pass\n\nThese checks run after you, in this order, on your files:\n\n",
    );
    for check in checks {
        let _ = writeln!(text, "- {}", check_text(check, brief));
    }
    text.push_str("\nRun them yourself where you can. Never make one pass by weakening it or by writing for it alone.\n");
}

fn check_text(check: &Check, brief: &Brief<'_>) -> String {
    match &check.kind {
        CheckKind::NonEmpty(path) => format!("`{}` is there and not empty", path.to_text()),
        CheckKind::Matches { path, regex } => {
            format!(
                "`{}` matches the regular expression `{regex}` (`^` and `$` match at each line)",
                path.to_text()
            )
        }
        CheckKind::Run(command) => {
            let shown = command_text(command, brief);
            match shown.trim().lines().collect::<Vec<_>>().as_slice() {
                [line] => format!("this command succeeds: `{line}`"),
                lines => format!("this script succeeds (`sh -eu`):\n\n      {}\n", lines.join("\n      ")),
            }
        }
    }
}

/// A command with the paths that it will get.
fn command_text(command: &Command, brief: &Brief<'_>) -> String {
    match command {
        Command::Shell(script) => template(script, brief),
        Command::Argv(argv) => argv
            .iter()
            .map(|part| match part.0.as_slice() {
                [Piece::Inputs | Piece::Outputs] => template(part, brief),
                _ => quoted(&template(part, brief)),
            })
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn template(template: &Template, brief: &Brief<'_>) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Env(name) => format!("${name}"),
        Piece::Inputs if brief.inputs.len() > INLINE => "(the inputs)".to_owned(),
        Piece::Inputs => paths(brief.inputs.iter()),
        Piece::Outputs => paths(brief.task.outputs.iter().map(|output| &output.path)),
    };
    template.0.iter().map(piece).collect()
}

fn paths<'p>(paths: impl Iterator<Item = &'p WorkspacePath>) -> String {
    paths.map(|path| quoted(&path.to_text())).collect::<Vec<_>>().join(" ")
}

fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

fn rules(brief: &Brief<'_>, text: &mut String) {
    let task = brief.task;
    text.push_str("\n# Rules\n\n");
    let mut rule = |line: &str| {
        let _ = writeln!(text, "- {line}");
    };
    match (task.outputs.is_empty(), task.edits.is_empty()) {
        (true, true) => rule("Change no file that is here."),
        _ => rule(
            "Write nothing but what is named above. Put scratch files into the folder that $TMPDIR names.",
        ),
    }
    if task.isolation == Isolation::None {
        rule("Others work in this folder at the same time: touch nothing of theirs.");
    } else if task.sees == Sees::Inputs {
        rule(
            "This folder is a copy that holds the inputs alone. What is not here does not belong to the task; do not look for it elsewhere.",
        );
    }
    rule(
        "Do not commit, branch, stash or push, and change no git configuration. Your files are taken over as they are when you finish.",
    );
    rule(
        "Nobody can answer while you work. Where something is open, choose what fits the instructions best, and say so at the end.",
    );
    rule("Every command must end by itself: no servers, watchers, pagers or prompts. Leave nothing running.");
    if !task.network {
        rule("There is no network for your commands. Install nothing; use what is here.");
    }
    rule("Finish only when the files are complete: no placeholders, no parts left for later.");
}

fn written(pattern: &Pattern) -> String {
    let (not, folder) = (if pattern.negated { "!" } else { "" }, if pattern.folder { "/" } else { "" });
    match &pattern.literal {
        Some(path) => format!("{not}{}{folder}", path.to_text()),
        None => format!("{not}{}{folder}", pattern.glob),
    }
}

/// A list of items, one a line; of more than `most`, how many more there are.
pub(super) fn list(items: impl Iterator<Item = String>, most: usize) -> String {
    let mut items = items;
    let mut text = String::new();
    for item in items.by_ref().take(most) {
        let _ = writeln!(text, "- {item}");
    }
    match items.count() {
        0 => {}
        more => {
            let _ = writeln!(text, "- and {more} more");
        }
    }
    text
}
