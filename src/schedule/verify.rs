//! `build --verify`: runs a sample of the fresh tasks again, apart, and holds what they make against what is recorded.
//!
//! Which tasks: those whose result was never verified under its key come first, then those for which it was longest
//! ago; among equals a hash of the run's id and the task's decides. So the sample rotates, runs on one machine reach
//! every task, and one on a fresh clone takes others than the last.

use std::cmp::Reverse;

use crate::execute::{self, Difference, Repeated, RunContext};
use crate::graph::TaskIndex;
use crate::incremental::{Engine, Verdict};
use crate::model::{Encoder, Flake, FlakeKind, Isolation, TaskId, Work};

/// How many tasks to run again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sample {
    /// So many.
    Count(usize),
    /// So many of a hundred; one at least.
    Percent(f64),
}

impl Sample {
    /// Of so many tasks.
    fn of(self, tasks: usize) -> usize {
        match self {
            Self::Count(count) => count.min(tasks),
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a number of tasks, rounded up, and no more than there are"
            )]
            Self::Percent(percent) => ((tasks as f64 * percent / 100.0).ceil() as usize).min(tasks),
        }
    }
}

/// What came of the sample.
#[derive(Default)]
pub struct Verified {
    /// How many tasks it was taken from.
    pub of: usize,
    /// Which made the same again.
    pub same: Vec<TaskId>,
    /// Which made something else, and where.
    pub different: Vec<(TaskId, Vec<Difference>)>,
    /// Which did not succeed apart, and why.
    pub failed: Vec<(TaskId, String)>,
    /// It was stopped before its end.
    pub stopped: bool,
}

/// Runs a sample of the fresh tasks of `scope` again, one after the other. `tell` hears of each before it starts, and
/// says whether to go on.
pub fn verify(
    engine: &mut Engine,
    context: &RunContext,
    scope: &[TaskIndex],
    sample: Sample,
    tell: &mut dyn FnMut(&TaskId, usize, usize) -> bool,
) -> Verified {
    let eligible: Vec<TaskIndex> =
        scope.iter().copied().filter(|index| is_eligible(engine, *index)).collect();
    let mut verified = Verified { of: eligible.len(), ..Verified::default() };
    let chosen = choose(engine, context, eligible, sample);
    let count = chosen.len();
    for (number, index) in chosen.into_iter().enumerate() {
        let id = engine.plan().task_id(index);
        if !tell(&id, number + 1, count) {
            verified.stopped = true;
            break;
        }
        let (Some(record), Ok(mut assignment)) = (engine.recorded_or_kept(index), engine.assignment(index))
        else {
            continue;
        };
        if assignment.isolation == Isolation::None {
            assignment.isolation = Isolation::Sandbox;
        }
        match execute::repeat(context, &assignment, &record) {
            Repeated::Moved => {}
            Repeated::Stopped => {
                verified.stopped = true;
                break;
            }
            Repeated::Failed(message) => verified.failed.push((id, message)),
            Repeated::Compared(differences) => {
                context.flakes.verified(&id, record.key);
                if differences.is_empty() {
                    verified.same.push(id);
                    continue;
                }
                let paths = differences.iter().map(|one| one.path.clone()).take(Flake::PATHS).collect();
                let (run, earlier, kind) = (context.run.clone(), record.run.clone(), FlakeKind::OtherOutputs);
                if let Some(Err(error)) = context.cache.as_ref().map(|cache| cache.withdraw(&record)) {
                    verified.failed.push((id.clone(), error.to_string()));
                }
                context.flakes.note(Flake { task: id.clone(), key: record.key, run, earlier, kind, paths });
                verified.different.push((id, differences));
            }
        }
    }
    verified
}

/// Is it fresh, does a command make something that can be compared, and does that command act on nothing but files?
fn is_eligible(engine: &mut Engine, index: TaskIndex) -> bool {
    let plan = engine.plan();
    if plan.is_hidden(index) || plan.is_gate(index) || plan.is_agent(index) || plan.is_always(index) {
        return false;
    }
    let Ok(task) = plan.task(index) else { return false };
    // What an incremental task makes depends on what it made before; a secret or a `rollback` says that it acts on
    // something outside, which no sandbox undoes.
    let acts = !task.secrets.is_empty() || task.rollback.is_some();
    let makes = !task.outputs.is_empty() || !task.edits.is_empty();
    if task.incremental || acts || !makes || !matches!(task.work, Work::Run(_)) {
        return false;
    }
    // What a lock says of it is known once the engine was asked.
    let Ok(verdict) = engine.verdict(index) else { return false };
    let recorded = engine.recorded_or_kept(index).map(|record| record.key);
    verdict.state == Verdict::Fresh && recorded.is_some() && verdict.key == recorded
}

fn choose(engine: &Engine, context: &RunContext, eligible: Vec<TaskIndex>, sample: Sample) -> Vec<TaskIndex> {
    let before = context.flakes.last_verified();
    let count = sample.of(eligible.len());
    let mut ranked: Vec<_> = eligible
        .into_iter()
        .filter_map(|index| {
            let id = engine.plan().task_id(index);
            let key = engine.recorded_or_kept(index)?.key;
            let lot = Encoder::new("conductor verify 1").text(&context.run.0).text(id.as_str()).finish();
            Some((before.get(&(id, key)).copied(), Reverse(lot), index))
        })
        .collect();
    // None comes before every number.
    ranked.sort_unstable();
    ranked.into_iter().take(count).map(|(_, _, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up_and_never_more_than_there_is() {
        assert_eq!(Sample::Percent(5.0).of(0), 0);
        assert_eq!(Sample::Percent(5.0).of(1), 1);
        assert_eq!(Sample::Percent(5.0).of(40), 2);
        assert_eq!(Sample::Percent(5.0).of(41), 3);
        assert_eq!(Sample::Percent(100.0).of(7), 7);
        assert_eq!(Sample::Count(3).of(2), 2);
    }
}
