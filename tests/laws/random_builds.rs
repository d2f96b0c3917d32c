//! Promises 1, 4 and 9 on random graphs under random edits, in the spirit of shake's random build systems.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use crate::edits::{self, EditSeed, TaskSeed};
use crate::scenario::{Lawful, Scenario};
use crate::seeds::try_many;

/// A task as numbers.
pub(crate) fn task_seed() -> impl Strategy<Value = TaskSeed> {
    let sources = vec((0..12_u8, any::<u8>()), 0..4);
    (any::<u8>(), any::<u8>(), sources, vec(any::<u8>(), 0..3), any::<u16>())
        .prop_map(|(shape, filter, sources, needs, extra)| TaskSeed { shape, filter, sources, needs, extra })
}

fn edit_seed() -> impl Strategy<Value = EditSeed> {
    (0..40_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, a, b)| EditSeed { kind, a, b })
}

#[derive(Clone, Debug)]
pub(crate) struct Story {
    tasks: Vec<TaskSeed>,
    groups: u16,
    files: u16,
    /// The edits before each build, and how to build.
    steps: Vec<(Vec<EditSeed>, u16)>,
}

pub(crate) fn story() -> impl Strategy<Value = Story> {
    let size = proptest::prop_oneof![4 => 5..14_usize, 1 => 14..40_usize];
    let tasks = size.prop_flat_map(|size| vec(task_seed(), 1..=size));
    (tasks, any::<u16>(), any::<u16>(), vec((vec(edit_seed(), 1..4), any::<u16>()), 1..8))
        .prop_map(|(tasks, groups, files, steps)| Story { tasks, groups, files, steps })
}

pub(crate) fn tell(story: &Story, scenario: &mut Scenario) -> Lawful {
    scenario.world.recipe = edits::recipe(&story.tasks, story.groups);
    edits::first_files(scenario, story.files);
    scenario.build(None, false, 2)?;
    for (edits, how) in &story.steps {
        scenario.past.push((scenario.world.recipe.clone(), scenario.world.sources()));
        for edit in edits {
            edits::apply(scenario, edit);
        }
        let indices: Vec<usize> = scenario.world.recipe.tasks.keys().copied().collect();
        let some = [indices[usize::from(how / 16) % indices.len()]];
        let jobs = if how % 2 == 0 { 1 } else { 4 };
        match how % 16 {
            0 | 1 => scenario.build(Some(&some), true, jobs)?,
            2..=5 => scenario.build(Some(&some), false, jobs)?,
            _ => scenario.build(None, false, jobs)?,
        }
        if how % 5 == 0 {
            scenario.build(None, false, jobs)?;
            scenario.compare_with_clean(jobs)?;
        }
    }
    scenario.build(None, false, 2)?;
    scenario.compare_with_clean(2)
}

#[test]
fn an_incremental_build_of_a_random_graph_equals_a_clean_one_and_runs_only_what_must_run() {
    try_many("random_builds", 36, &story(), |story| {
        let mut scenario = Scenario::new();
        let told = tell(story, &mut scenario);
        told.map_err(|broken| format!("{broken}\n\nto repeat it:\n{}", scenario.script()))
    });
}
