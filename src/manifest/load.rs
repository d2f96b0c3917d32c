//! From files to a manifest: reads all of them, learns all names, then builds groups and tasks.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::check::checks;
use super::context::{Facts, Scope, Shared, Var};
use super::include::{self, File, Files};
use super::names::{bad_name, is_id, is_variable, qualify};
use super::problems::Problems;
use super::reader::Reader;
use super::task::{self, Written};
use super::tree::{Entry, Node};
use super::{Loaded, Location, adapter, environment, lint, matrix, rules, settings, shape};
use crate::model::{Diagnostic, Group, GroupId, Manifest, Reference, Settings, Sources, Task, TaskId, Work};

/// How many tasks a manifest may have, matrix instances counted.
const MAX_TASKS: usize = 250_000;

/// See [`super::load`].
pub(super) fn load(location: &Location, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let slots = include::slots();
    let problems = Problems::default();
    let Files { list: files, sources, origin, complete } = include::read_all(location, &slots, &problems);
    let mut shared = Shared::new(&problems, env);
    shared.names.incomplete = !complete;
    let manifest = build(&mut shared, &files);
    let origin = origin.with_env(shared.looked_up.take());
    drop(shared);
    drop(files);
    let texts = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_default());
    let files = sources.into_iter().zip(texts).map(|(file, text)| crate::model::SourceFile { text, ..file });
    let sources = Sources { files: files.collect() };
    let sound = !problems.any_error();
    let diagnostics = problems.finish();
    let manifest =
        sound.then(|| Manifest { sources: sources.clone(), warnings: diagnostics.clone(), ..manifest });
    Loaded { manifest, diagnostics, sources, origin }
}

fn build(shared: &mut Shared<'_>, files: &[File<'_>]) -> Manifest {
    let scopes: Vec<Scope<'_>> = files.iter().filter_map(|file| scope(shared, file)).collect();
    shared.names.incomplete |= scopes.len() < files.len();
    for scope in &scopes {
        shape::check(scope.root, shared.problems);
    }
    let tasks = learn_names(shared, &scopes);
    let mut settings = settings::read(shared, &scopes);
    let groups: Vec<Group> = scopes.iter().flat_map(|scope| groups(shared, scope)).collect();
    let tasks = build_tasks(shared, &tasks);
    settings.agents = shared.adapters.take().into_values().collect();
    let limited = groups.iter().filter(|group| !group.budget.is_unlimited());
    settings.group_budgets = limited.map(|group| (group.id.clone(), group.budget.clone())).collect();
    costs(shared, &settings, &tasks);
    let manifest = Manifest { settings, groups, tasks, ..Manifest::default() };
    if !shared.problems.any_error() {
        lint::unused(shared.problems, &scopes, &manifest);
        lint::not_yet(shared.problems, &scopes);
    }
    manifest
}

/// A limit in US dollars of the run or of a group holds only where every agent's cost is told.
fn costs(shared: &Shared<'_>, settings: &Settings, tasks: &[Task]) {
    let limited = |task: &Task| {
        let mut groups =
            settings.group_budgets.iter().filter(|(group, _)| Some(group) == task.group.as_ref());
        settings.budget.usd.is_some() || groups.any(|(_, budget)| budget.usd.is_some())
    };
    for task in tasks.iter().filter(|task| limited(task)) {
        let Work::Agent(agent) = &task.work else { continue };
        let adapter = settings.agents.iter().find(|adapter| adapter.name == agent.adapter);
        if let Some(adapter) = adapter.filter(|adapter| !adapter.tells_cost()) {
            shared.problems.push(adapter::unknown_cost(adapter, task.work_at));
        }
    }
}

fn build_tasks(shared: &Shared<'_>, written: &[Written<'_>]) -> Vec<Task> {
    let mut tasks = Vec::with_capacity(shared.names.instances.len());
    for task in written {
        for (id, matrix) in &task.instances {
            tasks.extend(task::build(shared, task, id, matrix));
        }
    }
    tasks
}

/// A file that is a manifest, with its variables.
fn scope<'a>(shared: &Shared<'_>, file: &'a File<'a>) -> Option<Scope<'a>> {
    let root = file.tree.as_ref()?;
    if let Err(diagnostic) = version(root) {
        shared.problems.push(*diagnostic);
        return None;
    }
    if let Some(namespace) = root.get("namespace")
        && let Some(name) = namespace.scalar().filter(|name| !is_id(name))
    {
        shared.problems.push(bad_name("namespace", name, namespace.at));
    }
    let mut scope = Scope { file, root, vars: BTreeMap::new() };
    for entry in root.get("vars").map_or(&[][..], Node::entries) {
        if !is_variable(&entry.key) {
            shared.problems.push(bad_name("variable", &entry.key, entry.key_at));
        }
        let reader = Reader { shared, scope: &scope, facts: None, matrix: &[], env: None };
        if let Some(value) = reader.text(&entry.value) {
            let name = entry.key.to_string();
            scope.vars.insert(name, Var { value, at: entry.key_at, used: Cell::new(false) });
        }
    }
    Some(scope)
}

/// Every file says that it is a manifest, and of which format.
fn version(root: &Node<'_>) -> Result<(), Box<Diagnostic>> {
    let Some(entry) = root.entry("conductor") else {
        let place = root.entries().first().map_or(root.at, |first| first.key_at);
        let is_old = root.get("tasks").is_some() || root.get("groups").is_some();
        return Err(Box::new(
            Diagnostic::error("manifest::not_a_manifest", "this is no conductor manifest of format 1")
                .label(place, "does not begin with `conductor: 1`")
                .help(if is_old {
                    "`conductor init --from FILE` makes a manifest of a dispatcher file of the old kind"
                } else {
                    "`conductor init` writes a manifest to begin with"
                }),
        ));
    };
    if entry.value.scalar() == Some("1") {
        return Ok(());
    }
    Err(Box::new(
        Diagnostic::error("manifest::unknown_version", "this conductor knows format 1 alone")
            .label(if entry.value.at.length > 0 { entry.value.at } else { entry.key_at }, "another version")
            .help("write `conductor: 1`, or use a conductor that knows this version"),
    ))
}

/// Registers all ids, so that tasks can be built in any order.
fn learn_names<'a>(shared: &mut Shared<'_>, scopes: &'a [Scope<'a>]) -> Vec<Written<'a>> {
    let mut tasks = Vec::new();
    for scope in scopes {
        let namespace = &scope.file.namespace;
        for entry in section(scope, "groups") {
            let id = qualify(namespace, &entry.key);
            check_id(shared, entry, "group");
            if let Err(diagnostic) = shared.names.add_group(id, entry.key_at) {
                shared.problems.push(*diagnostic);
            }
        }
        for entry in section(scope, "tasks") {
            let id = qualify(namespace, &entry.key);
            check_id(shared, entry, "task");
            let instances = matrix::instances(shared, scope, entry, &id);
            if shared.names.instances.len() + instances.len() > MAX_TASKS {
                shared.problems.push(
                    Diagnostic::error("manifest::too_many_tasks", format!("more than {MAX_TASKS} tasks"))
                        .label(entry.key_at, "the limit is reached here"),
                );
                shared.names.incomplete = true;
                return Vec::new();
            }
            let ids: Vec<TaskId> = instances.iter().map(|(id, _)| id.clone()).collect();
            match shared.names.add_task(id, entry.key_at, ids) {
                Ok(()) => tasks.push(Written { scope, entry, instances }),
                Err(diagnostic) => shared.problems.push(*diagnostic),
            }
        }
    }
    tasks
}

fn section<'a>(scope: &Scope<'a>, key: &str) -> &'a [Entry<'a>] {
    scope.root.get(key).map_or(&[], Node::entries)
}

fn check_id(shared: &Shared<'_>, entry: &Entry<'_>, what: &str) {
    if !is_id(&entry.key) {
        shared.problems.push(bad_name(what, &entry.key, entry.key_at));
    }
}

fn groups<'a>(shared: &'a Shared<'a>, scope: &'a Scope<'a>) -> impl Iterator<Item = Group> + 'a {
    section(scope, "groups").iter().map(move |entry| group(shared, scope, entry))
}

fn group(shared: &Shared<'_>, scope: &Scope<'_>, entry: &Entry<'_>) -> Group {
    let id = GroupId::new(qualify(&scope.file.namespace, &entry.key));
    let node = &entry.value;
    let unnamed = Facts {
        id: TaskId::gate(&id).as_str().to_owned(),
        group: Some(id.as_str().to_owned()),
        ..Facts::default()
    };
    let early = Reader { shared, scope, facts: Some(&unnamed), matrix: &[], env: None };
    let title = node.get("title").and_then(|title| early.text(title));
    let facts = Facts { title: title.clone(), ..unnamed.clone() };
    let naming = Reader { facts: Some(&facts), ..early };
    let env = environment::env(&naming, scope.root.get("env").into_iter());
    let reader = Reader { env: Some(&env), ..naming };
    let after = node.get("after").map(|after| task::references(&reader, after)).unwrap_or_default();
    if let Some(itself) = after.iter().find(|one| matches!(one, Reference::Group(other, _) if *other == id)) {
        shared.problems.push(rules::self_need(id.as_str(), itself.at()));
    }
    Group {
        at: entry.key_at,
        title,
        after,
        gate: node.get("gate").map(|gate| checks(&reader, gate, false)).unwrap_or_default(),
        dir: scope.file.folder.clone(),
        budget: node.get("budget").map(|budget| task::budget(&reader, budget)).unwrap_or_default(),
        pass_env: environment::names(scope.root.get("pass_env"), &reader),
        env: env.clone(),
        id,
    }
}
