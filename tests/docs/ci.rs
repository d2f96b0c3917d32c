//! The workflow of `docs/ci.md`: its commands are run, each job in a fresh clone, as GitHub Actions would run them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::{Place, copy, read, root};

/// The page's workflow.
fn workflow() -> Value {
    let page = read("docs/ci.md");
    let yaml = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    serde_yaml::from_str(yaml).unwrap()
}

/// A repository with `main` and a branch `feature` that changes one of two generators, and its clones.
struct Ground {
    place: Place,
    workflow: Value,
}

/// What expressions stand for, and what comes of a job.
#[derive(Default)]
struct Job {
    expressions: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
}

impl Ground {
    fn new() -> Self {
        let ground = Self { place: Place::new(), workflow: workflow() };
        let origin = ground.place.work();
        copy(&root().join("examples/codegen"), &origin);
        ground.git(&origin, &["init", "-q", "-b", "main"]);
        ground.conductor(&origin, &["build"], 0);
        ground.conductor(&origin, &["lock"], 0);
        ground.commit(&origin, "first");
        ground.git(&origin, &["checkout", "-q", "-b", "feature"]);
        let generator = origin.join("generators/client.awk");
        let text = std::fs::read_to_string(&generator).unwrap();
        std::fs::write(&generator, format!("{text}# another line\n")).unwrap();
        ground.commit(&origin, "a change");
        ground.git(&origin, &["branch", "forgotten"]);
        ground.conductor(&origin, &["build"], 0);
        ground.commit(&origin, "built");
        ground
    }

    fn conductor(&self, folder: &Path, args: &[&str], exit: i32) -> String {
        let run = self.place.command("conductor").args(args).current_dir(folder).output().unwrap();
        let told = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        assert_eq!(run.status.code(), Some(exit), "{args:?}: {told}");
        told
    }

    fn commit(&self, folder: &Path, message: &str) {
        self.git(folder, &["add", "-A"]);
        self.git(
            folder,
            &["-c", "user.name=P", "-c", "user.email=p@localhost", "commit", "-q", "-m", message],
        );
    }

    fn git(&self, folder: &Path, args: &[&str]) {
        let git = self.place.command("git").args(args).current_dir(folder).output().unwrap();
        assert!(git.status.success(), "{args:?}: {}", String::from_utf8_lossy(&git.stderr));
    }

    /// A fresh clone of a branch, as `actions/checkout` leaves it.
    fn clone(&self, name: &str, branch: &str) -> PathBuf {
        let to = self.place.work().parent().unwrap().join(name);
        let from = self.place.work();
        self.git(
            &self.place.home(),
            &["clone", "-q", "-b", branch, from.to_str().unwrap(), to.to_str().unwrap()],
        );
        to
    }

    /// Runs the steps of a job in a clone.
    fn run(&self, name: &str, clone: &Path, job: &mut Job) {
        let steps = self.workflow["jobs"][name]["steps"].as_array().unwrap();
        let mut ran = 0;
        for step in steps {
            let Some(line) = step["run"].as_str() else {
                assert!(step["uses"].is_string(), "{step}");
                continue;
            };
            let output = clone.with_extension("output");
            std::fs::write(&output, "").unwrap();
            let mut command = self.place.command("bash");
            // As GitHub runs `run`.
            command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &job.fill(line)]);
            command.current_dir(clone).env("CI", "true").env("GITHUB_OUTPUT", &output);
            for (variable, value) in step["env"].as_object().into_iter().flatten() {
                command.env(variable, job.fill(value.as_str().unwrap()));
            }
            let done = command.output().unwrap();
            let told = [done.stdout, done.stderr].concat();
            assert!(done.status.success(), "{line}\n{}", String::from_utf8_lossy(&told));
            for line in std::fs::read_to_string(&output).unwrap().lines() {
                let (key, value) = line.split_once('=').unwrap();
                job.outputs.insert(
                    format!("steps.{}.outputs.{key}", step["id"].as_str().unwrap()),
                    value.to_owned(),
                );
            }
            ran += 1;
        }
        assert!(ran > 0, "{name} runs nothing");
    }

    /// The outputs of a task as a build of everything would leave them.
    fn outputs(clone: &Path) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(clone.join("gen")).into_iter().flatten().flatten();
        files
            .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
            .collect()
    }
}

impl Job {
    /// Fills `${{ … }}` in. What is not known must not be in the workflow.
    fn fill(&self, text: &str) -> String {
        let expression = Regex::new(r"\$\{\{\s*(.*?)\s*\}\}").unwrap();
        let value = |found: &Captures<'_>| {
            self.expressions.get(&found[1]).cloned().unwrap_or_else(|| panic!("who knows {}?", &found[0]))
        };
        expression.replace_all(text, value).into_owned()
    }

    fn know(mut self, expression: &str, value: impl Into<String>) -> Self {
        self.expressions.insert(expression.to_owned(), value.into());
        self
    }
}

#[test]
fn a_fresh_clone_is_checked_against_the_lock_that_was_committed() {
    let ground = Ground::new();
    for branch in ["main", "feature"] {
        ground.run("fresh", &ground.clone(&format!("fresh-{branch}"), branch), &mut Job::default());
    }
    let forgotten = ground.clone("forgotten", "forgotten");
    let told = ground.conductor(&forgotten, &["check", "--format", "github"], 3);
    assert!(told.contains("::error"), "{told}");
}

#[test]
fn a_pull_request_builds_what_it_affects_in_the_jobs_that_the_plan_made() {
    let ground = Ground::new();
    let mut plan = Job::default().know("github.base_ref", "main");
    let clone = ground.clone("plan", "feature");
    ground.run("plan", &clone, &mut plan);
    let declared = ground.workflow["jobs"]["plan"]["outputs"]["matrix"].as_str().unwrap();
    plan.expressions = plan.outputs.clone();
    let matrix = plan.fill(declared);
    assert_eq!(
        ground.workflow["jobs"]["affected"]["strategy"]["matrix"],
        "${{ fromJSON(needs.plan.outputs.matrix) }}"
    );
    let jobs = serde_json::from_str::<Value>(&matrix).unwrap()["include"].as_array().unwrap().clone();
    let named: String = jobs.iter().map(|job| job["tasks"].as_str().unwrap()).collect::<Vec<_>>().join(" ");
    let named: BTreeSet<&str> = named.split(' ').collect();
    assert_eq!(named, BTreeSet::from(["'code[part=client]'", "roundtrip"]));
    for (number, job) in jobs.iter().enumerate() {
        let clone = ground.clone(&format!("affected-{number}"), "feature");
        let tasks = job["tasks"].as_str().unwrap();
        ground.run("affected", &clone, &mut Job::default().know("matrix.tasks", tasks));
        assert!(clone.join(".conductor").is_dir());
    }
    // On main itself nothing is affected, and the page's condition says so in the same words.
    let mut plan = Job::default().know("github.base_ref", "main");
    ground.run("plan", &ground.clone("main", "main"), &mut plan);
    let empty = &plan.outputs["steps.affected.outputs.matrix"];
    let condition = ground.workflow["jobs"]["affected"]["if"].as_str().unwrap();
    assert_eq!(condition, format!("needs.plan.outputs.matrix != '{empty}'"));
}

#[test]
fn the_main_branch_builds_everything_in_shards_and_verifies_a_sample() {
    let ground = Ground::new();
    let whole = ground.clone("whole", "main");
    ground.conductor(&whole, &["build"], 0);
    let expected = Ground::outputs(&whole);
    assert!(!expected.is_empty());
    let shards =
        ground.workflow["jobs"]["everything"]["strategy"]["matrix"]["shard"].as_array().unwrap().clone();
    assert_eq!(shards, [json!(1), json!(2), json!(3)]);
    let mut found = BTreeMap::new();
    for shard in shards {
        let clone = ground.clone(&format!("shard-{shard}"), "main");
        let _ = std::fs::remove_dir_all(clone.join("gen"));
        ground.run("everything", &clone, &mut Job::default().know("matrix.shard", shard.to_string()));
        found.extend(Ground::outputs(&clone));
    }
    assert_eq!(found, expected);
}

#[test]
fn a_shallow_clone_is_told_what_it_lacks() {
    let ground = Ground::new();
    let to = ground.place.work().parent().unwrap().join("shallow");
    let url = format!("file://{}", ground.place.work().display());
    ground.git(
        &ground.place.home(),
        &["clone", "-q", "--depth", "1", "--no-single-branch", "-b", "feature", &url, to.to_str().unwrap()],
    );
    let told = ground.conductor(&to, &["affected", "--base", "origin/main", "--format", "json"], 2);
    assert!(told.contains("shallow clone") && told.contains("fetch-depth: 0"), "{told}");
}
