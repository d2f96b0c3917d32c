//! Turns a dispatcher file of the old kind into a manifest of format 1, for `conductor init --from`.
//!
//! Such files were made by hand and follow no schema: what is there is read leniently under the names
//! that people use, and what cannot be understood is left out. Invariant: the result loads without an
//! error. A task without a command becomes a task for an agent, told by its description.

use std::collections::BTreeSet;

use serde_yaml::{Mapping, Value};

use super::names::{is_id, is_variable};
use super::paths;
use super::template::Placeholder;
use crate::model::{Diagnostic, WorkspacePath, parse_duration};

/// Rewrites the text of a dispatcher file.
pub fn migrate(text: &str) -> Result<String, Diagnostic> {
    let old: Value = serde_yaml::from_str(text).map_err(|error| {
        Diagnostic::error("manifest::not_a_dispatcher", format!("this is no YAML: {error}"))
            .help("`conductor init` writes a manifest to begin with")
    })?;
    let top = top(&old);
    let groups = groups(top);
    let mut tasks = tasks(first(top, &["tasks", "jobs", "steps"]), None);
    for group in &groups {
        for task in &group.members {
            if !tasks.iter().any(|known| known.id == task.id) {
                tasks.push(task.clone());
            }
        }
    }
    if tasks.is_empty() {
        return Err(Diagnostic::error("manifest::not_a_dispatcher", "there are no tasks in this file")
            .help("they are looked for under `tasks`, as a map or as a list"));
    }
    let names = Names::new(&groups, &tasks);
    let mut manifest = Mapping::new();
    set(&mut manifest, "conductor", 1.into());
    set_text(&mut manifest, "project", first(top, &["project", "name", "title"]));
    let new_groups: Mapping =
        groups.iter().map(|group| (names.group(&group.id).into(), group.write(&names))).collect();
    if !new_groups.is_empty() {
        set(&mut manifest, "groups", new_groups.into());
    }
    let new_tasks: Mapping =
        tasks.iter().map(|task| (clean(&task.id).into(), task.write(&groups, &names))).collect();
    set(&mut manifest, "tasks", new_tasks.into());
    serde_yaml::to_string(&manifest)
        .map_err(|error| Diagnostic::error("manifest::not_a_dispatcher", error.to_string()))
}

/// The map that holds the tasks: the file's own, or one inside it (`dispatcher: { tasks: … }`).
fn top(old: &Value) -> &Value {
    let holds = |value: &Value| ["tasks", "groups", "phases"].iter().any(|key| value.get(key).is_some());
    let inner =
        old.as_mapping().and_then(|map| map.iter().map(|(_, value)| value).find(|value| holds(value)));
    if holds(old) { old } else { inner.unwrap_or(old) }
}

/// The value under the first of `keys` that is there.
fn first<'v>(value: &'v Value, keys: &[&str]) -> &'v Value {
    keys.iter().filter_map(|key| value.get(key)).find(|value| !value.is_null()).unwrap_or(&Value::Null)
}

/// A scalar as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A list, one value, or the texts of a comma-separated one.
fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Sequence(items) => items.clone(),
        Value::String(text) => {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Value::from).collect()
        }
        other => vec![other.clone()],
    }
}

/// Entries of a map, or items of a list of maps with an id inside; a bare text is an id.
fn entries(value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Mapping(map) => {
            map.iter().filter_map(|(key, value)| Some((text(key)?, value.clone()))).collect()
        }
        Value::Sequence(items) => items
            .iter()
            .filter_map(|item| {
                let id = text(item).or_else(|| text(first(item, &["id", "key", "name", "title"])))?;
                Some((id, item.clone()))
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn set(map: &mut Mapping, key: &str, value: Value) {
    map.insert(key.into(), value);
}

fn set_text(map: &mut Mapping, key: &str, value: &Value) {
    if let Some(text) = text(value) {
        set(map, key, literal(&text).into());
    }
}

fn set_list(map: &mut Mapping, key: &str, values: Vec<Value>) {
    if !values.is_empty() {
        set(map, key, values.into());
    }
}

/// A text in which nothing is filled in.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

/// A command in which nothing is filled in; what is the shell's stays.
fn command(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, inside) = (&rest[..start], &rest[start + 2..]);
        let name = inside.split('}').next().unwrap_or_default();
        let ours = Placeholder::parse(name).is_some() || Placeholder::begins(inside) || before.ends_with('$');
        escaped.push_str(before);
        escaped.push_str(if ours { "$${" } else { "${" });
        rest = inside;
    }
    escaped + rest
}

/// An id of format 1.
fn clean(id: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let id: String = id.trim().chars().map(fit).collect();
    if is_id(&id) { id } else { format!("_{id}") }
}

/// New ids, and which old ones exist.
struct Names {
    groups: BTreeSet<String>,
    tasks: BTreeSet<String>,
}

impl Names {
    fn new(groups: &[Group], tasks: &[Task]) -> Self {
        Self {
            groups: groups.iter().map(|group| clean(&group.id)).collect(),
            tasks: tasks.iter().map(|task| clean(&task.id)).collect(),
        }
    }

    /// A group may not have a task's id.
    fn group(&self, id: &str) -> String {
        let id = clean(id);
        if self.tasks.contains(&id) { format!("{id}.group") } else { id }
    }

    /// What names in `value` refer to, unknown ones and `own` left out.
    fn references(&self, value: &Value, own: &str) -> Vec<Value> {
        let mut known: Vec<Value> = Vec::new();
        for name in list(value).iter().filter_map(text) {
            for part in name.split(',') {
                let id = clean(part);
                let new = if self.tasks.contains(&id) {
                    id
                } else if self.groups.contains(&id) {
                    self.group(&id)
                } else {
                    continue;
                };
                if new != own && !known.contains(&Value::from(new.as_str())) {
                    known.push(new.into());
                }
            }
        }
        known
    }
}

struct Group {
    id: String,
    old: Value,
    members: Vec<Task>,
}

fn groups(top: &Value) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (id, old) in entries(first(top, &["groups", "phases", "stages"])) {
        if groups.iter().all(|known| clean(&known.id) != clean(&id)) {
            let members = tasks(first(&old, &["tasks", "jobs", "steps"]), Some(&id));
            groups.push(Group { id, old, members });
        }
    }
    groups
}

impl Group {
    fn write(&self, names: &Names) -> Value {
        let mut group = Mapping::new();
        set_text(&mut group, "title", first(&self.old, &["title", "name", "description"]));
        let after = first(&self.old, &["after", "depends_on", "dependencies", "needs", "requires"]);
        set_list(&mut group, "after", names.references(after, &names.group(&self.id)));
        let (gate, _) = checks(first(&self.old, &["gate", "gates", "validation", "validate", "checks"]));
        set_list(&mut group, "gate", gate);
        group.into()
    }
}

#[derive(Clone)]
struct Task {
    id: String,
    group: Option<String>,
    old: Value,
}

fn tasks(value: &Value, group: Option<&str>) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for (id, old) in entries(value) {
        // Two old ids that become one are one task.
        if tasks.iter().all(|known| clean(&known.id) != clean(&id)) {
            tasks.push(Task { id, group: group.map(str::to_owned), old });
        }
    }
    tasks
}

impl Task {
    fn get(&self, keys: &[&str]) -> &Value {
        first(&self.old, keys)
    }

    fn write(&self, groups: &[Group], names: &Names) -> Value {
        let mut task = Mapping::new();
        set_text(&mut task, "title", self.get(&["title", "name", "summary"]));
        if let Some(group) = self.group(groups) {
            set(&mut task, "group", names.group(&group).into());
        }
        set_text(&mut task, "role", self.get(&["role", "agent_role", "assignee", "owner"]));
        for (key, olds) in
            [("effort", &["effort", "estimate", "estimated_effort"][..]), ("timeout", &["timeout"])]
        {
            if let Some(duration) = text(self.get(olds)).and_then(|text| duration(&text)) {
                set(&mut task, key, duration.into());
            }
        }
        let needs = self.get(&["needs", "dependencies", "depends_on", "deps", "requires"]);
        set_list(&mut task, "needs", names.references(needs, &clean(&self.id)));
        let inputs = self.get(&["inputs", "input", "sources", "reads"]);
        set(&mut task, "inputs", list(inputs).iter().filter_map(input).collect::<Vec<_>>().into());
        set_list(
            &mut task,
            "outputs",
            outputs(self.get(&["outputs", "output", "artifacts", "produces", "deliverables"])),
        );
        if let Value::Mapping(env) = self.get(&["env", "environment"]) {
            let pair = |(name, value): (&Value, &Value)| Some((text(name)?, literal(&text(value)?)));
            let vars = env.iter().filter_map(pair).filter(|(name, _)| is_variable(name));
            set(
                &mut task,
                "env",
                vars.map(|(name, value)| (name.into(), value.into())).collect::<Mapping>().into(),
            );
        }
        let validation = self.get(&["validation", "validate", "checks", "post_validation", "acceptance"]);
        let before = match first(validation, &["pre", "before"]) {
            Value::Null => self.get(&["require", "pre_validation", "preconditions"]),
            before => before,
        };
        let after = match first(validation, &["post", "after"]) {
            Value::Null if validation.is_mapping() => &Value::Null,
            Value::Null => validation,
            after => after,
        };
        let (require, _) = checks(before);
        let (validate, prose) = checks(after);
        self.work(&mut task, &prose);
        set_list(&mut task, "require", require);
        set_list(&mut task, "validate", validate);
        task.into()
    }

    fn group(&self, groups: &[Group]) -> Option<String> {
        let written = text(self.get(&["group", "phase", "stage"]));
        let lists_it = |group: &&Group| group.members.iter().any(|member| member.id == self.id);
        let name = written
            .or_else(|| self.group.clone())
            .or_else(|| groups.iter().find(lists_it).map(|group| group.id.clone()))?;
        groups.iter().any(|group| clean(&group.id) == clean(&name)).then_some(name)
    }

    /// A command, else an agent that is told the description and what must hold in the end.
    fn work(&self, task: &mut Mapping, prose: &[String]) {
        let lines: Vec<String> = list(self.get(&["run", "command", "commands", "cmd", "script"]))
            .iter()
            .filter_map(text)
            .collect();
        if !lines.is_empty() {
            set(task, "run", command(&lines.join("\n")).into());
            return;
        }
        let told = text(self.get(&["instructions", "prompt", "description", "title", "name"]));
        let mut instructions = literal(&told.unwrap_or_else(|| self.id.clone()));
        if !prose.is_empty() {
            instructions.push_str("\n\nIt is accepted when:\n");
            instructions.extend(prose.iter().map(|line| format!("- {}\n", literal(line))));
        }
        set(task, "agent", "claude".into());
        set(task, "instructions", instructions.into());
    }
}

/// `4h`, `4 hours`, `30 min`.
fn duration(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let unit = text[end..].trim();
    let short = match unit.to_lowercase().as_str() {
        "hour" | "hours" | "hr" | "hrs" => "h",
        "minute" | "minutes" | "min" | "mins" => "m",
        "second" | "seconds" | "sec" | "secs" => "s",
        "day" | "days" => "d",
        _ => unit,
    };
    Some(format!("{}{short}", &text[..end])).filter(|duration| parse_duration(duration).is_ok())
}

fn input(value: &Value) -> Option<Value> {
    let path = text(value).or_else(|| text(first(value, &["path", "file"])))?;
    let sound = paths::parse(&WorkspacePath::root(), path.trim_start_matches('!')).is_ok();
    sound.then(|| literal(&path).into())
}

/// Paths; for a glob, the folder before it.
fn outputs(value: &Value) -> Vec<Value> {
    let mut known: Vec<Value> = Vec::new();
    for item in list(value) {
        let Some(path) = text(&item).or_else(|| text(first(&item, &["path", "file"]))) else { continue };
        let fixed = match path.find(['*', '?', '[', '{']) {
            Some(glob) => path[..glob].rsplit_once('/').map(|(folder, _)| format!("{folder}/")),
            None => Some(path),
        };
        let sound = |path: &String| {
            paths::parse(&WorkspacePath::root(), path).is_ok_and(|parsed| {
                parsed.literal.is_some_and(|path| {
                    !path.is_root() && path.components().all(|part| part != b".git" && part != b".conductor")
                })
            })
        };
        let distinct = |path: &String| {
            !known
                .iter()
                .filter_map(text)
                .any(|other| other.trim_end_matches('/') == path.trim_end_matches('/'))
        };
        if let Some(path) = fixed.filter(sound).filter(distinct) {
            known.push(literal(&path).into());
        }
    }
    known
}

/// Checks that are commands, and those that are prose.
fn checks(value: &Value) -> (Vec<Value>, Vec<String>) {
    let (mut commands, mut prose) = (Vec::new(), Vec::new());
    for item in list(value) {
        let written = text(first(&item, &["run", "command", "cmd", "script"]));
        match (written, text(&item)) {
            (Some(run), _) => commands.push(run),
            (None, Some(line)) if is_command(&line) => commands.push(line),
            (None, Some(line)) => prose.push(line),
            (None, None) => prose.extend(text(first(&item, &["description", "name"]))),
        }
    }
    let check = |run: String| Value::from(Mapping::from_iter([("run".into(), command(&run).into())]));
    (commands.into_iter().map(check).collect(), prose)
}

/// Begins like a command: a program's name or path in lower case, and no sentence.
fn is_command(line: &str) -> bool {
    let program = line.split_whitespace().next().unwrap_or_default();
    !line.ends_with('.')
        && program.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "./_-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::super::tests::load_files;
    use super::*;

    #[track_caller]
    fn check(old: &str) -> (String, crate::model::Manifest) {
        let new = migrate(old).unwrap();
        let loaded = load_files(&[("conductor.yaml", &new)]);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|one| one.is_error()).collect();
        assert!(errors.is_empty(), "{new}\n{errors:#?}");
        (new, loaded.manifest.unwrap())
    }

    #[test]
    fn a_dispatcher_file_becomes_a_manifest() {
        let (new, manifest) = check(
            r#"
version: 2
project: phase-5.3
phases:
  - id: GROUP_A
    name: Foundation
    validation: ["./scripts/smoke.sh"]
  - { id: GROUP_B, name: Engine, depends_on: [GROUP_A] }
tasks:
  - id: T1
    name: PostgreSQL schema
    phase: GROUP_A
    role: database engineer
    effort: 4 hours
    description: Write the schema; use ${PGVERSION}.
    outputs: [db/schema.sql, "db/migrations/*.sql"]
    validation:
      - psql -f db/schema.sql
      - Every table has a primary key.
  - id: T4
    group: GROUP_B
    dependencies: [T1, T99]
    inputs: db/schema.sql
    command: cp db/schema.sql ${OUT:-out}/x
"#,
        );
        insta::assert_snapshot!(new);
        assert_eq!(manifest.tasks.len(), 2);
    }

    #[test]
    fn tasks_may_stand_inside_their_groups() {
        let (_, manifest) = check(
            "dispatcher:\n  groups:\n    A: { tasks: [T1, T2] }\n    B: { tasks: { T3: { run: make } } }\n  tasks:\n    T1: { script: [make, make test], deps: T2 }\n    T2: { cmd: make }\n",
        );
        let group = |id: &str| {
            let task = manifest.tasks.iter().find(|task| task.id.as_str() == id).unwrap();
            task.group.as_ref().unwrap().as_str().to_owned()
        };
        assert_eq!((group("T1"), group("T2"), group("T3")), ("A".into(), "A".into(), "B".into()));
    }

    #[test]
    fn what_format_1_refuses_is_left_out_or_renamed() {
        check(
            "groups: { build: { after: [build, nope] } }\ntasks:\n  build:\n    run: 'echo ${vars.x} ${x'\n    inputs: [/etc/passwd, '../x', 'a[', 3]\n    outputs: ['*', .git/x, a, a/, '${inputs}']\n    env: { A-B: 1, C: '${D}' }\n    effort: some\n    needs: build\n  'two words': 7\n  '': {}\n",
        );
    }

    #[test]
    fn a_file_without_tasks_is_told() {
        assert_eq!(migrate("a: b").unwrap_err().code, "manifest::not_a_dispatcher");
        assert_eq!(migrate("a: [b").unwrap_err().code, "manifest::not_a_dispatcher");
    }
}
