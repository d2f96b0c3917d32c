//! What agents of one build have spent, against the budgets of the run and of groups. Shared by the workers: each
//! adds what its agent's stream tells, as it comes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::model::{AgentEnd, Budget, GroupId, Usage};

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Of the whole run.
    run: Account,
    groups: BTreeMap<GroupId, Account>,
}

#[derive(Debug, Default)]
struct Account {
    budget: Budget,
    spent: Mutex<Usage>,
}

impl Account {
    fn spent(&self) -> Usage {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, usage: &Usage) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).add(usage);
    }
}

impl Ledger {
    /// Nothing is spent yet.
    pub fn new(run: Budget, groups: impl IntoIterator<Item = (GroupId, Budget)>) -> Self {
        let account = |budget| Account { budget, spent: Mutex::default() };
        let groups = groups.into_iter().filter(|(_, budget)| !budget.is_unlimited());
        Self { run: account(run), groups: groups.map(|(id, budget)| (id, account(budget))).collect() }
    }

    /// Something was used on behalf of a task of `group`.
    pub(super) fn spend(&self, group: Option<&GroupId>, usage: &Usage) {
        self.run.add(usage);
        if let Some(account) = group.and_then(|group| self.groups.get(group)) {
            account.add(usage);
        }
    }

    /// The limit that is reached, for people.
    pub(super) fn reached(&self, group: Option<&GroupId>) -> Option<(AgentEnd, String)> {
        if let Some((end, why)) = self.run.budget.reached(&self.run.spent()) {
            return Some((end, format!("the run's budget: {why}")));
        }
        let group = group?;
        let account = self.groups.get(group)?;
        let (end, why) = account.budget.reached(&account.spent())?;
        Some((end, format!("the budget of {group}: {why}")))
    }

    /// What is left for a task of `group`.
    pub(super) fn left(&self, group: Option<&GroupId>) -> Budget {
        let left = |account: &Account| account.budget.left(&account.spent());
        let group = group.and_then(|group| self.groups.get(group)).map(left).unwrap_or_default();
        left(&self.run).and(&group)
    }

    /// All that was spent.
    pub fn total(&self) -> Usage {
        self.run.spent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_stops_at_its_own_limit_and_everybody_at_the_runs() {
        let tokens = |tokens| Budget { tokens: Some(tokens), ..Budget::default() };
        let used = |tokens_in| Usage { tokens_in, ..Usage::default() };
        let (a, b) = (GroupId::new("A"), GroupId::new("B"));
        let ledger = Ledger::new(tokens(100), [(a.clone(), tokens(10)), (b.clone(), Budget::default())]);
        ledger.spend(Some(&a), &used(10));
        assert!(ledger.reached(Some(&a)).is_some_and(|(_, why)| why.starts_with("the budget of A")));
        assert_eq!(ledger.reached(Some(&b)), None);
        assert_eq!((ledger.left(Some(&a)).tokens, ledger.left(Some(&b)).tokens), (Some(0), Some(90)));
        ledger.spend(Some(&b), &used(90));
        assert!(ledger.reached(None).is_some_and(|(_, why)| why.starts_with("the run's budget")));
        assert_eq!(ledger.total().tokens(), 100);
    }
}
