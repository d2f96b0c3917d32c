//! Splits tasks into shards of about the same cost, for machines that know nothing of each other: each computes
//! the whole split and takes its own part. So it depends on nothing but its arguments.

use std::collections::BTreeSet;

use super::{Plan, TaskIndex};

/// Splits `roots` into `count` shards (at least one). Every root is in exactly one of them. A shard costs what its tasks
/// and all that they depend on cost together, since each shard has to have it all.
///
/// The most expensive roots come first, each to the shard that is the cheapest with it (longest processing time first,
/// Graham 1969); one that a shard depends on anyway costs it nothing and goes there.
pub fn split(
    plan: &Plan,
    roots: &BTreeSet<TaskIndex>,
    count: usize,
    cost: impl Fn(TaskIndex) -> u64,
) -> Vec<BTreeSet<TaskIndex>> {
    let count = count.max(1);
    let mut shards = vec![Shard::new(plan.len()); count];
    let order: Vec<TaskIndex> = plan.order().collect();
    // What depends on something costs more than that, so it comes first; of those of one cost the first in the manifest.
    let whole = deepest(plan, &order, &cost);
    let mut sorted: Vec<TaskIndex> = roots.iter().copied().collect();
    sorted.sort_by_key(|index| (std::cmp::Reverse(whole[*index as usize]), *index));
    for index in sorted {
        let free = shards.iter().position(|shard| shard.has[index as usize]);
        let at = free.unwrap_or_else(|| cheapest(plan, &shards, index, &cost));
        shards[at].take(plan, index, &cost);
    }
    shards.into_iter().map(|shard| shard.own).collect()
}

#[derive(Clone)]
struct Shard {
    own: BTreeSet<TaskIndex>,
    /// Its tasks and what they depend on.
    has: Vec<bool>,
    cost: u64,
}

impl Shard {
    fn new(tasks: usize) -> Self {
        Self { own: BTreeSet::new(), has: vec![false; tasks], cost: 0 }
    }

    /// What this task needs that the shard has not yet, the task included.
    fn missing(&self, plan: &Plan, index: TaskIndex) -> Vec<TaskIndex> {
        let mut missing = BTreeSet::new();
        let mut pending = vec![index];
        while let Some(index) = pending.pop() {
            if !self.has[index as usize] && missing.insert(index) {
                pending.extend(plan.deps(index).map(|(dep, _)| dep));
            }
        }
        missing.into_iter().collect()
    }

    fn take(&mut self, plan: &Plan, index: TaskIndex, cost: &impl Fn(TaskIndex) -> u64) {
        for needed in self.missing(plan, index) {
            self.has[needed as usize] = true;
            self.cost = self.cost.saturating_add(visible(plan, needed, cost));
        }
        self.own.insert(index);
    }
}

fn visible(plan: &Plan, index: TaskIndex, cost: &impl Fn(TaskIndex) -> u64) -> u64 {
    if plan.is_hidden(index) { 0 } else { cost(index).max(1) }
}

/// The shard that is the cheapest once it has the task; the first of several.
fn cheapest(plan: &Plan, shards: &[Shard], index: TaskIndex, cost: &impl Fn(TaskIndex) -> u64) -> usize {
    let with = |shard: &Shard| {
        let more = shard.missing(plan, index).into_iter().map(|needed| visible(plan, needed, cost));
        more.fold(shard.cost, u64::saturating_add)
    };
    // The empty shards are all alike: one of them is asked.
    let mut seen_empty = false;
    let asked = shards
        .iter()
        .enumerate()
        .filter(|(_, shard)| !shard.own.is_empty() || !std::mem::replace(&mut seen_empty, true));
    asked.map(|(at, shard)| (with(shard), at)).min().map_or(0, |(_, at)| at)
}

/// The cost of the most expensive chain that ends in each task: a quick measure of what stands behind it.
fn deepest(plan: &Plan, order: &[TaskIndex], cost: &impl Fn(TaskIndex) -> u64) -> Vec<u64> {
    let mut deepest = vec![0_u64; plan.len()];
    for index in order.iter().copied() {
        let below = plan.deps(index).map(|(dep, _)| deepest[dep as usize]).max().unwrap_or(0);
        deepest[index as usize] = below.saturating_add(visible(plan, index, cost));
    }
    deepest
}
