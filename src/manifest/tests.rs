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
