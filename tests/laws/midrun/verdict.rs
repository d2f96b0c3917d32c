//! The oracle of the matrix: a clean build in a copy of the tree says what each task makes of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::place::{OUTPUTS, Place};
use crate::ground::{Built, Ran, Thing, tree};

/// The output of each task, and the outputs of a clean build; those that fail there have none.
pub(crate) struct Clean {
    /// The tasks that succeed.
    good: Vec<String>,
    things: BTreeMap<String, Thing>,
    code: Option<i32>,
}

/// The outputs that a workspace holds.
fn outputs(root: &Path) -> BTreeMap<String, Thing> {
    let mut things = tree(root);
    things.retain(|path, _| OUTPUTS.contains(&path.split('/').next().unwrap_or_default()));
    things
}

/// The task that makes an output.
fn maker(path: &str) -> &'static str {
    match path.split('/').next() {
        Some("od") => "d",
        Some("ou") => "u",
        Some("ov") => "v",
        _ => "T",
    }
}

/// Builds to the end, whatever fails.
pub(crate) fn build(place: &Place, root: &Path, cached: bool) -> Built {
    let mut command = place.conductor(root, cached);
    let output = command.args(["build", "-k", "-j4", "--format", "json"]).output().unwrap();
    let ran = Ran::from_output(&output);
    ran.assert_no_panic();
    Built::new(ran)
}

impl Clean {
    /// Builds the tree as it is now, in a copy and without a cache.
    pub(crate) fn of(place: &Place) -> Self {
        let copy = place.fresh_copy();
        let built = build(place, copy.path(), false);
        let good = built.ran();
        let mut things = outputs(copy.path());
        things.retain(|path, _| good.iter().any(|task| task == maker(path)));
        assert!(built.tasks.contains_key("T"), "a clean build does nothing: {}", built.ran.text());
        Self { good, things, code: built.ran.code }
    }

    /// The outputs in the tree that differ from those of the clean build.
    fn differences(&self, place: &Place, task: Option<&str>) -> Vec<String> {
        let there = outputs(place.ground.root());
        let wanted = |path: &str| {
            let maker = maker(path);
            task.is_none_or(|task| task == maker) && self.good.iter().any(|good| good == maker)
        };
        let paths = self.things.keys().chain(there.keys()).filter(|path| wanted(path));
        let differs = |path: &&String| self.things.get(*path) != there.get(*path);
        let told = |thing: Option<&Thing>| match thing {
            Some(Thing::File(bytes, _)) => format!("`{}`", bytes.escape_ascii()),
            other => format!("{other:?}"),
        };
        let one = |path: &String| {
            format!("{path} holds {}, clean: {}", told(there.get(path)), told(self.things.get(path)))
        };
        paths.filter(differs).map(one).collect()
    }

    /// `check` calls nothing fresh that is not what a clean build gives, and what it calls fresh
    /// passes its checks by hand.
    pub(crate) fn holds_for_what_is_fresh(&self, place: &Place, when: &str) -> Result<(), String> {
        let mut command = place.conductor(place.ground.root(), true);
        let ran = Ran::from_output(&command.args(["check", "--format", "json"]).output().unwrap());
        ran.assert_no_panic();
        let document: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        for (task, told) in document["tasks"].as_object().into_iter().flatten() {
            if told["state"] != "fresh" {
                continue;
            }
            if !self.good.contains(task) {
                return Err(format!("{when}: {task} is called fresh and fails in a clean build"));
            }
            if let Some(difference) = self.differences(place, Some(task)).first() {
                return Err(format!("{when}: {task} is called fresh, but {difference}"));
            }
            if task == "T" && !passes_by_hand(place) {
                return Err(format!("{when}: T is called fresh, and its check refuses it by hand"));
            }
        }
        Ok(())
    }

    /// The outputs in the tree are those of the clean build.
    pub(crate) fn equals(&self, place: &Place, when: &str) -> Result<(), String> {
        self.differences(place, None).first().map_or(Ok(()), |one| Err(format!("{when}: {one}")))
    }

    /// At most three more builds bring the tree to what a clean build gives, and then nothing is
    /// due.
    pub(crate) fn is_reached(&self, place: &Place, when: &str) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..3 {
            let built = build(place, place.ground.root(), true);
            last = built.ran.text();
            let conflict = built.ran.code == Some(4);
            if conflict {
                // A person's version of an output: the person gives it up.
                let subject = place.subject();
                let path = subject.strip_prefix(place.ground.root()).unwrap();
                let mut command = place.conductor(place.ground.root(), true);
                command.arg("resolve").arg(path).arg("--theirs").output().unwrap();
            }
            let due = [built.ran(), built.restored(), built.validated()].concat();
            if due.is_empty() && !conflict {
                if built.ran.code != self.code {
                    return Err(format!("{when}: exit {:?} in a clean build, and here {last}", self.code));
                }
                self.holds_for_what_is_fresh(place, when)?;
                return self.equals(place, when);
            }
        }
        Err(format!("{when}: there is still something due after three builds: {last}"))
    }
}

/// The check of `T`, as a person runs it.
fn passes_by_hand(place: &Place) -> bool {
    let Some(check) = place.check() else { return true };
    let mut command = std::process::Command::new("sh");
    command.args(["-eu", "-c", &check]).current_dir(place.ground.root()).env("PORT", place.stops.port());
    command.output().unwrap().status.success()
}
