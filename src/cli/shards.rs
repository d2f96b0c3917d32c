//! What tasks cost, and which part of them `build --shard` gives to this machine.
//!
//! Machines that split the same work must come to the same split, or a task is built by none of them. So the durations
//! that this workspace happens to have recorded have no say in it; a file that all of them were given has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::options::Shard;
use super::session::Session;
use super::{Exit, Stop};
use crate::graph::{self, Plan, TaskIndex};
use crate::model::Diagnostic;
use crate::store::State;

/// How long tasks took, in milliseconds, by id.
#[derive(Default)]
pub(super) struct History(BTreeMap<String, u64>);

impl History {
    /// What this workspace has recorded.
    pub(super) fn recorded(state: &State) -> Self {
        let took = state
            .tasks()
            .map(|(id, row)| (id.to_owned(), u64::try_from(row.duration.as_millis()).unwrap_or(u64::MAX)));
        Self(took.filter(|(_, ms)| *ms > 0).collect())
    }

    /// What a document of `list --format json` (or of `build`) tells.
    fn read(path: &Path) -> Result<Self, Stop> {
        let refuse = |why: String| {
            let message = format!("{} is no history: {why}", path.display());
            let diagnostic = Diagnostic::error("cli::history", message)
                .help("`conductor list --format json > FILE` writes one");
            Stop::plain(Exit::Usage, diagnostic)
        };
        let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let document: Value = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        let tasks = document["tasks"].as_object().ok_or_else(|| refuse("it has no `tasks`".to_owned()))?;
        let took = tasks.iter().filter_map(|(id, task)| Some((id.clone(), task["duration_ms"].as_u64()?)));
        Ok(Self(took.filter(|(_, ms)| *ms > 0).collect()))
    }

    /// The cost of every task: how long it took, else its `effort`, else the median of those that are known, else 1.
    pub(super) fn costs(&self, plan: &Plan) -> Vec<u64> {
        let known = |index| self.0.get(plan.id(index)).copied().or_else(|| plan.effort_ms(index));
        let costs: Vec<Option<u64>> = plan.indices().map(known).collect();
        let mut sorted: Vec<u64> = costs.iter().copied().flatten().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(1);
        costs.into_iter().map(|cost| cost.unwrap_or(median)).collect()
    }
}

/// The part of `roots` that is `shard`'s.
pub(super) fn own(
    session: &Session,
    roots: &BTreeSet<TaskIndex>,
    shard: Shard,
    history: Option<&Path>,
) -> Result<BTreeSet<TaskIndex>, Stop> {
    let history = match history {
        Some(path) => History::read(&session.start.join(path))?,
        None => History::default(),
    };
    let costs = history.costs(&session.plan);
    let mut shards = graph::split(&session.plan, roots, usize::from(shard.of), |index| costs[index as usize]);
    Ok(shards.swap_remove(usize::from(shard.number) - 1))
}
