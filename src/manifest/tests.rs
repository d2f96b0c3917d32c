//! Whole manifests: what they become.

use std::path::Path;

use super::*;
use crate::model::{Isolation, Reference, Task, Work};

/// A sound manifest with nearly every key.
pub(super) const FULL: &str = include_str!("full.yaml");

/// Loads `files`, the first of which is the root manifest.
pub(super) fn load_files(files: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = folder.path().canonicalize().unwrap();
    load(&locate(&root.join(files[0].0)).unwrap(), &|name| (name == "HOME").then(|| "/home/me".to_owned()))
}

#[track_caller]
fn manifest(files: &[(&str, &str)]) -> Manifest {
    let loaded = load_files(files);
    assert_eq!(loaded.diagnostics, [], "a sound manifest");
    loaded.manifest.unwrap()
}

fn task<'m>(manifest: &'m Manifest, id: &str) -> &'m Task {
    manifest.tasks.iter().find(|task| task.id.as_str() == id).unwrap()
}

fn names(references: &[Reference]) -> Vec<&str> {
    references
        .iter()
        .map(|reference| match reference {
            Reference::Task(id, _) => id.as_str(),
            Reference::Group(id, _) => id.as_str(),
        })
        .collect()
}

fn command(task: &Task) -> String {
    match &task.work {
        Work::Run(command) => command.display(),
        Work::Agent(_) | Work::Gate => panic!("{} runs no command", task.id),
    }
}

#[test]
fn a_manifest_becomes_tasks_and_groups() {
    let text = "
conductor: 1
project: demo
vars: { dir: db }
env: { LANG: C.UTF-8 }
pass_env: [HOME]
defaults: { timeout: 1h, env: { A: '1' } }
groups:
  G:
    title: First
    after: []
    gate:
      - run: ./smoke.sh
tasks:
  T1:
    title: Schema
    group: G
    inputs: [docs/spec.md, 'src/**/*.rs', '!src/gen/**']
    outputs: ['${vars.dir}/schema.sql', db/migrations/, { path: db/notes.md, optional: true }]
    run: ./schema.sh > ${outputs}
  T2:
    needs: [T1, G]
    inputs: []
    env: { A: '2' }
    run: [echo, '${inputs}', '${env.A}', $HOME]
    timeout: 5m
";
    let manifest = manifest(&[("conductor.yaml", text)]);
    assert_eq!(manifest.settings.project.as_deref(), Some("demo"));
    let first = task(&manifest, "T1");
    assert_eq!(first.timeout, Some(std::time::Duration::from_secs(3600)));
    assert_eq!(first.outputs.len(), 3);
    assert_eq!(first.outputs[2].path.to_text(), "db/schema.sql");
    assert!(first.outputs[0].folder && first.outputs[1].optional);
    assert_eq!(first.inputs[2].glob, "src/gen/**");
    assert!(first.inputs[2].negated && first.inputs[0].literal.is_some());
    let second = task(&manifest, "T2");
    assert_eq!(names(&second.needs), ["T1", "G"]);
    assert_eq!(command(second), "echo '${inputs}' '${env.A}' '$HOME'");
    assert_eq!(second.env.iter().map(|var| var.name.as_str()).collect::<Vec<_>>(), ["A", "LANG"]);
    assert_eq!(second.timeout, Some(std::time::Duration::from_secs(300)));
    assert_eq!(second.isolation, Isolation::None);
    assert_eq!(manifest.groups[0].gate.len(), 1);
}

#[test]
fn a_manifest_is_found_from_below() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::create_dir(folder.path().join(".conductor")).unwrap();
    let old = folder.path().join(".conductor/task-dispatcher.yaml");
    std::fs::write(&old, "").unwrap();
    let expected = Location { file: old, root: folder.path().to_owned() };
    assert_eq!(discover(&below), Ok(expected.clone()));
    assert_eq!(locate(&expected.file), Ok(expected));
    assert_eq!(discover(Path::new("/")).unwrap_err().code, "manifest::not_found");
}

const ONE: &str = "run: make, inputs: []";

#[test]
fn an_included_file_is_a_world_of_its_own() {
    let root = format!(
        "conductor: 1\ninclude: ['services/*/conductor.yaml']\npools: {{ db: 1 }}\nvars: {{ x: root }}\ndefaults: {{ timeout: 1h }}\nenv: {{ A: root }}\ntasks:\n  T1: {{ {ONE}, needs: ['api:T1'] }}\n  T2: {{ {ONE}, tags: ['${{vars.x}}'] }}\n"
    );
    let api = "conductor: 1\nnamespace: api\ninclude: [deep.yaml]\npools: { gpu: 2 }\nvars: { x: api }\ngroups: { G: {} }\ntasks:\n  T1: { run: '${vars.x}', group: G, inputs: ['*.rs', '../shared', '!gen/'], outputs: [out/], pool: db, needs: [':T2', T2, 'deep:T1'] }\n  T2: { run: x, inputs: [], pool: gpu, dir: sub, after: ['api:deep:T1'] }\n";
    let deep = "conductor: 1\nnamespace: deep\ntasks: { T1: { run: x, inputs: [] } }\n";
    let manifest = manifest(&[
        ("conductor.yaml", &root),
        ("services/[api]/conductor.yaml", api),
        ("services/[api]/deep.yaml", deep),
    ]);
    let first = task(&manifest, "api:T1");
    assert_eq!(command(first), "api");
    assert_eq!(first.dir.to_text(), "services/[api]");
    let globs: Vec<&str> = first.inputs.iter().map(|pattern| pattern.glob.as_str()).collect();
    assert_eq!(globs, [r"services/\[api\]/*.rs", "services/shared", r"services/\[api\]/gen"]);
    assert!(first.inputs[2].negated && first.inputs[2].folder);
    assert_eq!(first.outputs[0].path.to_text(), "services/[api]/out");
    assert_eq!(names(&first.needs), ["T2", "api:T2", "api:deep:T1"]);
    assert_eq!(first.group.as_ref().unwrap().as_str(), "api:G");
    assert_eq!((first.timeout, first.env.len()), (None, 0), "defaults and env are the root's own");
    assert_eq!(first.pool.as_deref(), Some("db"));
    let second = task(&manifest, "api:T2");
    assert_eq!(
        (second.pool.as_deref(), second.dir.to_text()),
        (Some("api:gpu"), "services/[api]/sub".to_owned())
    );
    assert_eq!(names(&task(&manifest, "T1").needs), ["api:T1"]);
    assert_eq!(manifest.settings.pools, [("api:gpu".to_owned(), 2), ("db".to_owned(), 1)]);
}

#[test]
fn a_matrix_task_has_an_instance_for_each_combination() {
    let text = "conductor: 1\ntasks:\n  T1:\n    matrix: { os: [a, b], v: [1, 2.0] }\n    run: make ${matrix.os} ${matrix.v} ${task.id}\n    inputs: []\n    timeout: ${matrix.v}m\n  all: { run: x, inputs: [], needs: [T1] }\n  one: { run: x, inputs: [], needs: ['T1[os=b,v=2.0]', T1] }\n";
    let text = text.replace("2.0", "2");
    let manifest = manifest(&[("conductor.yaml", &text)]);
    let ids: Vec<&str> = manifest.tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, ["T1[os=a,v=1]", "T1[os=a,v=2]", "T1[os=b,v=1]", "T1[os=b,v=2]", "all", "one"]);
    assert_eq!(command(&manifest.tasks[1]), "make a 2 T1[os=a,v=2]");
    assert_eq!(manifest.tasks[1].timeout, Some(std::time::Duration::from_secs(120)));
    assert_eq!(names(&task(&manifest, "all").needs), ids[..4]);
    assert_eq!(names(&task(&manifest, "one").needs).len(), 4);
}

#[test]
fn in_commands_only_conductors_placeholders_are_filled_in() {
    let check = |run: &str, expected: &str| {
        let text = format!(
            "conductor: 1\nvars: {{ v: '$x' }}\nenv: {{ E: '1' }}\ntasks:\n  T: {{ run: '{run} ${{vars.v}}', inputs: [] }}\n"
        );
        let loaded = manifest(&[("conductor.yaml", &text)]);
        assert_eq!(command(&loaded.tasks[0]), format!("{expected} $x"));
    };
    check("echo $HOME ${HOME:-x} $$ ${#a} ${a", "echo $HOME $${HOME:-x} $$ $${#a} $${a");
    check("${OUT:-${vars.v}}", "$${OUT:-$x}");
    check("$${vars.v} ${env.E} ${inputs}", "$${vars.v} ${env.E} ${inputs}");
}

#[test]
fn in_other_strings_the_environment_is_filled_in_and_remembered() {
    let text = "conductor: 1\nenv: [HOME]\ntasks:\n  T: { run: x, inputs: ['d${env.HOME}/x', '${env.E}'], env: { E: '${task.id}' } }\n";
    let loaded = load_files(&[("conductor.yaml", text)]);
    let manifest = loaded.manifest.unwrap();
    assert_eq!(manifest.tasks[0].inputs[0].glob, "d/home/me/x");
    assert_eq!(manifest.tasks[0].inputs[1].glob, "T");
    assert_eq!(loaded.origin.env, [("HOME".to_owned(), Some("/home/me".to_owned()))]);
}

#[test]
fn defaults_fill_what_a_task_leaves_out() {
    let text = "conductor: 1\ndefaults: { inputs: [a], agent: codex, model: big, env: { A: '1', B: '1' }, platform: { os: linux }, isolation: sandbox }\ntasks:\n  T1: { run: x, env: { B: '2' } }\n  T2: { instructions: do it, inputs: [], platform: { cpu: arm }, isolation: worktree }\n";
    let manifest = manifest(&[("conductor.yaml", text)]);
    let (first, second) = (task(&manifest, "T1"), task(&manifest, "T2"));
    assert_eq!(first.isolation, Isolation::Sandbox);
    assert_eq!(first.inputs.len(), 1);
    let values: Vec<_> = first.env.iter().map(|var| (var.name.as_str(), var.value.clone())).collect();
    let literal = |text: &str| crate::model::EnvValue::Literal(text.to_owned());
    assert_eq!(values, [("A", literal("1")), ("B", literal("2"))]);
    let Work::Agent(agent) = &second.work else { panic!("an agent") };
    assert_eq!((agent.adapter.as_str(), agent.model.as_deref()), ("codex", Some("big")));
    assert_eq!(second.platform.len(), 2);
}

#[test]
fn no_stays_text_and_a_scalar_stays_as_written() {
    let text = "conductor: 1\nproject: no\nvars: { v: 1.10, w: 0x1F }\ntasks:\n  T: { run: 'x ${vars.v} ${vars.w}', inputs: [], tags: [yes, 007] }\n";
    let manifest = manifest(&[("conductor.yaml", text)]);
    assert_eq!(manifest.settings.project.as_deref(), Some("no"));
    assert_eq!(manifest.tasks[0].tags, ["yes", "007"]);
    assert_eq!(command(&manifest.tasks[0]), "x 1.10 0x1F");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let text = "\u{feff}conductor: 1\r\ntasks:\r\n  é: { run: x, inputs: [] }\r\n  T: { run: |\r\n x }\r\n";
    let loaded = load_files(&[("conductor.yaml", &text.replace("  T: { run: |\r\n x }\r\n", ""))]);
    let label = loaded.diagnostics[0].labels[0].at;
    assert_eq!((loaded.diagnostics[0].code.as_str(), label.line, label.column), ("manifest::bad_id", 3, 3));
    assert_eq!(&loaded.sources.files[0].text[label.offset as usize..][..label.length as usize], "é");
}

#[test]
fn a_broken_file_does_not_make_names_unknown() {
    let root = format!(
        "conductor: 1\ninclude: [api.yaml]\ntasks: {{ T1: {{ {ONE}, needs: ['api:T1'], weight: 0 }} }}\n"
    );
    let loaded =
        load_files(&[("conductor.yaml", &root), ("api.yaml", "conductor: 1\nnamespace: api\ntasks: [")]);
    let codes: Vec<&str> = loaded.diagnostics.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(codes, ["manifest::bad_number", "manifest::yaml_syntax"]);
}

#[test]
fn a_plan_is_current_until_something_it_was_made_from_changes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "conductor.yaml",
        "conductor: 1\ninclude: ['*.part.yaml']\nenv: [A]\ntasks: { T: { run: x, inputs: ['${env.A}'] } }\n",
    );
    write("a.part.yaml", "conductor: 1\n");
    let location = locate(&folder.path().join("conductor.yaml")).unwrap();
    let env = |name: &str| (name == "A").then(|| "1".to_owned());
    let origin = load(&location, &env).origin;
    assert!(origin.is_current(&location, &env));
    assert!(!origin.is_current(&location, &|_| None), "a variable");
    write("b.part.yaml", "conductor: 1\n");
    assert!(!origin.is_current(&location, &env), "a new file that a glob matches");
    std::fs::remove_file(folder.path().join("b.part.yaml")).unwrap();
    assert!(origin.is_current(&location, &env));
    write("a.part.yaml", "conductor: 1 # changed\n");
    assert!(!origin.is_current(&location, &env), "an included file");
}

#[test]
fn every_key_of_the_table_says_what_it_is_for() {
    fn check(keys: &[Key]) {
        for key in keys {
            assert!(!key.doc.is_empty() && !key.doc.ends_with('.'), "{}", key.name);
            if let Type::Record(keys) | Type::Map(Type::Record(keys)) = &key.kind {
                check(keys);
            }
        }
    }
    check(keys());
}
