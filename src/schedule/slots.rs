//! Slots: what limits how many tasks run at once, and the queue of those that wait for one.

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use crate::graph::TaskIndex;
use crate::model::{Settings, Task, Work};

/// The pool that agents take a place of, and its size unless set.
const AGENTS: (&str, u32) = ("agents", 8);

/// What a task takes while it runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Claim {
    /// A named pool and how many of its places.
    pool: Option<(String, u32)>,
    /// Job slots.
    jobs: u32,
}

impl Claim {
    /// A `run` task takes its weight of job slots (at most all of them) and of its pool; an agent takes one
    /// place of the pool `agents` and no job slot.
    pub(super) fn of(task: &Task, jobs: usize) -> Self {
        if matches!(task.work, Work::Agent(_)) {
            return Self { pool: Some((AGENTS.0.to_owned(), 1)), jobs: 0 };
        }
        let weight = task.weight.min(u32::try_from(jobs).unwrap_or(u32::MAX)).max(1);
        Self { pool: task.pool.clone().map(|pool| (pool, weight)), jobs: weight }
    }

    /// One job slot and nothing else.
    pub(super) fn single() -> Self {
        Self { pool: None, jobs: 1 }
    }

    /// One job slot and nothing else?
    pub(super) fn is_single(&self) -> bool {
        self.pool.is_none() && self.jobs == 1
    }
}

/// The size of the pool `agents`.
pub(super) fn agents(settings: &Settings) -> usize {
    let set = settings.pools.iter().find(|(name, _)| name == AGENTS.0).map(|(_, limit)| *limit);
    set.unwrap_or(AGENTS.1) as usize
}

/// What is taken and what is left.
pub(super) struct Slots {
    jobs_left: u32,
    pools: HashMap<String, (u32, u32)>,
    taken: HashMap<TaskIndex, Claim>,
}

impl Slots {
    pub(super) fn new(jobs: usize, settings: &Settings) -> Self {
        let mut pools: HashMap<String, (u32, u32)> = HashMap::from([(AGENTS.0.to_owned(), (AGENTS.1, 0))]);
        pools.extend(settings.pools.iter().map(|(name, limit)| (name.clone(), (*limit, 0))));
        Self { jobs_left: u32::try_from(jobs).unwrap_or(u32::MAX), pools, taken: HashMap::new() }
    }

    /// Has the pool a place? A claim above the pool's size runs alone in it.
    fn pool_fits(&self, claim: &Claim) -> bool {
        let Some((name, places)) = &claim.pool else { return true };
        self.pools.get(name).is_none_or(|(limit, used)| *used == 0 || used.saturating_add(*places) <= *limit)
    }

    pub(super) fn is_any_free(&self) -> bool {
        self.jobs_left > 0
    }

    /// Does each slot have a task of its own, that no pool limits?
    pub(super) fn are_all_taken_singly(&self) -> bool {
        self.jobs_left == 0 && self.taken.values().all(Claim::is_single)
    }

    fn jobs_fit(&self, claim: &Claim) -> bool {
        claim.jobs <= self.jobs_left
    }

    pub(super) fn take(&mut self, index: TaskIndex, claim: Claim) {
        self.jobs_left -= claim.jobs;
        if let Some((_, used)) = claim.pool.as_ref().and_then(|(name, _)| self.pools.get_mut(name)) {
            *used += claim.pool.as_ref().map_or(0, |(_, places)| *places);
        }
        self.taken.insert(index, claim);
    }

    pub(super) fn give_back(&mut self, index: TaskIndex) {
        let Some(claim) = self.taken.remove(&index) else { return };
        self.jobs_left += claim.jobs;
        if let Some((name, places)) = &claim.pool
            && let Some((_, used)) = self.pools.get_mut(name)
        {
            *used -= places;
        }
    }
}

/// Tasks that wait for a slot: a heap by critical path for each kind of claim, so that a full pool never
/// costs a walk over all that wait for it.
#[derive(Default)]
pub(super) struct Queue(BTreeMap<Claim, BinaryHeap<(u64, std::cmp::Reverse<TaskIndex>)>>);

impl Queue {
    pub(super) fn push(&mut self, priority: u64, index: TaskIndex, claim: Claim) {
        self.0.entry(claim).or_default().push((priority, std::cmp::Reverse(index)));
    }

    /// The most urgent task whose pool has a place, if its job slots are free. A heavy task that is the most
    /// urgent is waited for rather than overtaken for ever.
    pub(super) fn pop(&mut self, slots: &Slots) -> Option<(TaskIndex, Claim)> {
        let fitting = self.0.iter().filter(|(claim, _)| slots.pool_fits(claim));
        let best =
            fitting.filter_map(|(claim, heap)| Some((heap.peek()?, claim))).max_by(|a, b| a.0.cmp(b.0));
        let claim = best.map(|(_, claim)| claim.clone()).filter(|claim| slots.jobs_fit(claim))?;
        let heap = self.0.get_mut(&claim)?;
        let (_, index) = heap.pop()?;
        Some((index.0, claim))
    }

    /// The most urgent of all, if it takes a single slot and is more urgent than `limit`.
    pub(super) fn pop_single(&mut self, limit: u64) -> Option<(TaskIndex, Claim)> {
        let best = self.best().filter(|(priority, _)| *priority > limit)?;
        let single = Claim::single();
        let heap = self.0.get_mut(&single).filter(|heap| heap.peek() == Some(&best))?;
        heap.pop().map(|(_, index)| (index.0, single))
    }

    /// How urgent the most urgent of all is, and which.
    pub(super) fn best(&self) -> Option<(u64, std::cmp::Reverse<TaskIndex>)> {
        self.0.values().filter_map(BinaryHeap::peek).max().copied()
    }

    /// Everything that still waits.
    pub(super) fn drain(&mut self) -> Vec<TaskIndex> {
        std::mem::take(&mut self.0).into_values().flatten().map(|(_, index)| index.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(pool: Option<(&str, u32)>, jobs: u32) -> Claim {
        Claim { pool: pool.map(|(name, places)| (name.to_owned(), places)), jobs }
    }

    fn slots() -> Slots {
        Slots::new(2, &Settings { pools: vec![("db".to_owned(), 1)], ..Settings::default() })
    }

    #[test]
    fn a_full_pool_lets_others_pass() {
        let (mut slots, mut queue) = (slots(), Queue::default());
        queue.push(9, 1, claim(Some(("db", 1)), 1));
        queue.push(8, 2, claim(Some(("db", 1)), 1));
        queue.push(1, 3, claim(None, 1));
        let mut started = Vec::new();
        while let Some((index, claim)) = queue.pop(&slots) {
            slots.take(index, claim);
            started.push(index);
        }
        assert_eq!(started, [1, 3]);
        slots.give_back(1);
        assert_eq!(queue.pop(&slots).map(|(index, _)| index), Some(2));
    }

    #[test]
    fn a_heavy_task_is_waited_for() {
        let (mut slots, mut queue) = (slots(), Queue::default());
        slots.take(7, claim(None, 1));
        queue.push(9, 1, claim(None, 2));
        queue.push(1, 2, claim(None, 1));
        assert_eq!(queue.pop(&slots), None);
        slots.give_back(7);
        assert_eq!(queue.pop(&slots).map(|(index, _)| index), Some(1));
    }

    #[test]
    fn ahead_goes_only_what_takes_one_slot_and_is_more_urgent_than_what_may_come() {
        let (mut slots, mut queue) = (slots(), Queue::default());
        slots.take(7, claim(None, 1));
        assert!(!slots.are_all_taken_singly());
        slots.take(8, claim(None, 1));
        assert!(slots.are_all_taken_singly());
        queue.push(4, 1, claim(None, 1));
        assert_eq!(queue.pop_single(4), None);
        queue.push(9, 2, claim(Some(("db", 1)), 1));
        assert_eq!(queue.pop_single(3), None, "nothing goes past a more urgent one that has to wait");
        queue.push(10, 3, claim(None, 1));
        assert_eq!(queue.pop_single(3).map(|(index, _)| index), Some(3));
        slots.give_back(8);
        slots.take(2, claim(Some(("db", 1)), 1));
        assert!(!slots.are_all_taken_singly());
    }

    #[test]
    fn agents_take_no_job_slot() {
        let mut slots = slots();
        slots.take(1, claim(None, 2));
        assert!(
            slots.pool_fits(&claim(Some(("agents", 1)), 0)) && slots.jobs_fit(&claim(Some(("agents", 1)), 0))
        );
    }
}
