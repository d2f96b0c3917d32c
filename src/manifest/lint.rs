//! What is allowed but probably not meant.

use std::collections::HashSet;
use std::path::Path;

use super::context::Scope;
use super::problems::Problems;
use crate::model::{Command, Diagnostic, Manifest, Piece, Task, Work, WorkspacePath};

/// Variables that nothing uses, groups without members, a manifest without tasks.
pub(super) fn unused(problems: &Problems, scopes: &[Scope<'_>], manifest: &Manifest) {
    let vars = scopes.iter().flat_map(|scope| &scope.vars);
    for (name, var) in vars.filter(|(_, var)| !var.used.get()) {
        problems.push(
            Diagnostic::warning("manifest::unused_var", format!("nothing uses `{name}`"))
                .label(var.at, "never filled in")
                .help(format!("write `${{vars.{name}}}` where it is meant, or remove it")),
        );
    }
    let used: HashSet<_> = manifest.tasks.iter().filter_map(|task| task.group.as_ref()).collect();
    for group in manifest.groups.iter().filter(|group| !used.contains(&group.id)) {
        problems.push(
            Diagnostic::warning("manifest::empty_group", format!("no task is in `{}`", group.id))
                .label(group.at, "a group without members")
                .help(format!("write `group: {}` in its tasks, or remove it", group.id)),
        );
    }
    if let (Some(root), true) = (scopes.first(), manifest.tasks.is_empty()) {
        problems.push(
            Diagnostic::warning("manifest::no_tasks", "there is nothing to do")
                .label(root.root.entries().first().map_or(root.root.at, |first| first.key_at), "no tasks")
                .help("write them under `tasks`"),
        );
    }
}

/// Keys that are understood and checked, and that no build goes by yet.
pub(super) fn not_yet(problems: &Problems, scopes: &[Scope<'_>]) {
    let without = [
        ("remote", "builds use the cache of this machine and run everything here"),
        ("notify", "nobody is told when a run ends; `build --events FILE` and the exit code tell it"),
    ];
    let entries = scopes.first().map_or(&[][..], |root| root.root.entries());
    for (name, instead) in without {
        if let Some(entry) = entries.iter().find(|entry| entry.key == name) {
            problems.push(
                Diagnostic::warning("manifest::not_yet", format!("`{name}` has no effect yet"))
                    .label(entry.key_at, "not available yet")
                    .help(instead),
            );
        }
    }
}

/// Words of commands that name a file of the workspace `root` which the task does not declare: a result
/// that depends on it would be called fresh after it changed. A guess, so a warning; it reads the tree,
/// so it is not part of loading.
pub fn undeclared_paths(manifest: &Manifest, root: &Path) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for task in &manifest.tasks {
        let Work::Run(command) = &task.work else { continue };
        for path in paths_in(command, &task.dir) {
            if !is_declared(task, &path) && path.under(root).is_file() {
                warnings.push(
                    Diagnostic::warning(
                        "manifest::undeclared_path",
                        format!("`{}` names {path}, which it does not declare", task.id),
                    )
                    .label(task.work_at, "neither input nor output")
                    .help(format!("add {path} to `inputs`, or to `outputs` if the task writes it")),
                );
            }
        }
    }
    warnings
}

/// What looks like a relative path with a folder in it, and needs no expansion by the shell.
fn paths_in(command: &Command, dir: &WorkspacePath) -> Vec<WorkspacePath> {
    let texts = match command {
        Command::Shell(script) => std::slice::from_ref(script),
        Command::Argv(argv) => argv,
    };
    let pieces = texts.iter().flat_map(|template| &template.0);
    let words = pieces.filter_map(|piece| if let Piece::Text(text) = piece { Some(text) } else { None });
    let mut paths: Vec<WorkspacePath> = words
        .flat_map(|text| text.split(|c: char| c.is_whitespace() || ";|&<>()'\"=`".contains(c)))
        .filter(|word| word.contains('/') && !word.contains(['$', '*', '?', '[', '{', '\\', ':', '~']))
        .filter_map(|word| WorkspacePath::resolve(dir, word.as_bytes()).ok())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

fn is_declared(task: &Task, path: &WorkspacePath) -> bool {
    let covers = |pattern: &crate::model::Pattern| match &pattern.literal {
        Some(literal) => path.is_within(literal),
        None => crate::workspace::parse_glob(&pattern.glob)
            .is_ok_and(|glob| glob.compile_matcher().is_match(path.as_path())),
    };
    task.inputs.iter().chain(&task.edits).filter(|pattern| !pattern.negated).any(covers)
        || task.outputs.iter().any(|output| path.is_within(&output.path))
        || task.depfile.is_some()
        || task
            .tools
            .iter()
            .any(|tool| tool.name.contains('/') && path.to_text() == tool.name.trim_start_matches("./"))
}
