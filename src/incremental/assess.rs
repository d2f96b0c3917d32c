//! Judges a whole scope without running anything: what `check`, `list`, `why` and `--dry-run` show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::db::State;
use super::engine::Engine;
use super::world;
use crate::graph::TaskIndex;
use crate::model::{ActionKey, Diagnostic, Reason, ReasonKind, Task, TaskId, ToolKind};

/// What is known of a task that has not been built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing to do.
    Fresh,
    /// It has causes of its own. `validation_only`: its checks alone must run.
    Stale {
        /// Why, the main cause first.
        reasons: Vec<Reason>,
        /// Its command need not run.
        validation_only: bool,
    },
    /// It has no cause of its own but stands on something stale, so its key cannot be known.
    Blocked {
        /// `never_built` with the dependency, where neither has a result.
        reasons: Vec<Reason>,
        /// The dependency.
        by: TaskIndex,
    },
    /// `always: true`: it runs each time, and counts for no exit code.
    Always,
}

impl Standing {
    /// The contract's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale { .. } => "stale",
            Self::Blocked { .. } => "blocked",
            Self::Always => "always",
        }
    }

    /// The causes.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Stale { reasons, .. } | Self::Blocked { reasons, .. } => reasons,
            Self::Fresh | Self::Always => &[],
        }
    }

    /// Does a build have anything to do here?
    pub fn is_due(&self) -> bool {
        matches!(self, Self::Stale { .. } | Self::Blocked { .. })
    }
}

/// What was told of the tasks of the manifest: the instances of a matrix lack the same things.
#[derive(Default)]
pub struct Told(BTreeSet<(String, String)>);

impl Told {
    pub(super) fn is_new(&mut self, task: &TaskId, what: &str) -> bool {
        self.0.insert((task.base().to_owned(), what.to_owned()))
    }
}

impl Engine {
    /// The standing of every visible task of a scope (closed, in dependency order, observed).
    pub fn assess(&mut self, scope: &[TaskIndex]) -> Result<BTreeMap<TaskIndex, Standing>, Diagnostic> {
        let plan = Arc::clone(&self.plan);
        let (mut due, mut within) = (vec![false; plan.len()], vec![false; plan.len()]);
        // Nearly all are fresh, and a map is made much faster of what is sorted already.
        let mut others = BTreeMap::new();
        for index in scope.iter().copied().filter(|index| !plan.is_hidden(*index)) {
            within[index as usize] = true;
            let standing = self.assess_one(index, &due, true)?;
            due[index as usize] = standing.is_due();
            if standing != Standing::Fresh {
                others.insert(index, standing);
            }
        }
        let mut standing = |index: TaskIndex| (index, others.remove(&index).unwrap_or(Standing::Fresh));
        Ok((0..).zip(within).filter(|(_, within)| *within).map(|(index, _)| standing(index)).collect())
    }

    /// How many tasks of the scope [`Self::assess`] would not call fresh: those that are stale, blocked or `always`. Looks for
    /// no causes, so it costs little beside a build.
    pub fn count_to_run(&mut self, scope: &[TaskIndex]) -> Result<usize, Diagnostic> {
        let plan = Arc::clone(&self.plan);
        let mut due = vec![false; plan.len()];
        let mut count = 0;
        for index in scope.iter().copied().filter(|index| !plan.is_hidden(*index)) {
            let standing = self.assess_one(index, &due, false)?;
            due[index as usize] = standing.is_due();
            count += usize::from(standing != Standing::Fresh);
        }
        Ok(count)
    }

    /// Without `explain` there are no reasons, and no verdict is asked of a task that stands on something due.
    fn assess_one(&mut self, index: TaskIndex, due: &[bool], explain: bool) -> Result<Standing, Diagnostic> {
        let carrying = self.plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs()).map(|(dep, _)| dep);
        let stands_on = carrying.into_iter().find(|dep| due[*dep as usize]);
        if self.plan.is_always(index) {
            return self.assess_always(index, stands_on);
        }
        if !self.is_candidate(index) {
            return Ok(stands_on.map_or(Standing::Fresh, |by| Standing::Blocked { reasons: Vec::new(), by }));
        }
        if let Some(by) = stands_on.filter(|_| !explain) {
            return Ok(Standing::Blocked { reasons: Vec::new(), by });
        }
        let verdict = self.verdict(index)?;
        let reasons = if explain { self.reasons(index)? } else { Vec::new() };
        Ok(match (verdict.state, stands_on) {
            (State::Blocked(by), _) => Standing::Blocked { reasons, by },
            (State::Fresh, Some(by)) => Standing::Blocked { reasons: Vec::new(), by },
            (State::Fresh, None) => Standing::Fresh,
            (state, _) => Standing::Stale { reasons, validation_only: state == State::Unvalidated },
        })
    }

    /// It runs each time, and its dependents rest on what the last time gave; but not where it has a cause beside
    /// that, or stands on something stale: then this time may give something else.
    fn assess_always(
        &mut self,
        index: TaskIndex,
        stands_on: Option<TaskIndex>,
    ) -> Result<Standing, Diagnostic> {
        let verdict = self.verdict(index)?;
        let mut reasons = self.reasons(index)?;
        if let State::Blocked(by) = verdict.state {
            return Ok(Standing::Blocked { reasons, by });
        }
        reasons.retain(|reason| reason.kind != ReasonKind::Always);
        Ok(match stands_on {
            _ if !reasons.is_empty() => Standing::Stale { reasons, validation_only: false },
            Some(by) => Standing::Blocked { reasons, by },
            None => Standing::Always,
        })
    }

    /// Asks the candidates that stand on no other candidate; those that turn out to be fresh are none any more. What
    /// is left is what a build may really have to run.
    pub fn narrow(&mut self, scope: &[TaskIndex]) -> Result<(), Diagnostic> {
        let plan = Arc::clone(&self.plan);
        for index in scope.iter().copied() {
            if !self.is_candidate(index) {
                continue;
            }
            let carrying = plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs());
            let settled = carrying.into_iter().all(|(dep, _)| !self.is_candidate(dep));
            if settled && self.verdict(index)?.state == State::Fresh {
                self.confirm(index);
                self.candidate[index as usize] = false;
            }
        }
        Ok(())
    }

    /// The key of what is on disk now, where it can be known.
    pub fn key_now(&mut self, index: TaskIndex) -> Result<Option<ActionKey>, Diagnostic> {
        Ok(self.verdict(index)?.key)
    }

    /// What keeps the tasks that may run from running at all: unset secrets and missing tools. Found before
    /// anything starts.
    pub fn preflight(&mut self, scope: &[TaskIndex]) -> Vec<Diagnostic> {
        let cone = crate::graph::cone(&self.plan, scope, |index| self.is_candidate(index));
        let mut errors = Vec::new();
        let mut told = Told::default();
        for index in scope.iter().copied() {
            if cone[index as usize] && !self.plan.is_hidden(index) {
                self.preflight_one(index, &mut told, &mut errors);
            }
        }
        errors
    }

    fn preflight_one(&mut self, index: TaskIndex, told: &mut Told, errors: &mut Vec<Diagnostic>) {
        let Ok(task) = self.plan.task(index) else { return };
        let is_set = |name: &str| self.world.caller.0.contains_key(std::ffi::OsStr::new(name));
        for name in task.secrets.iter().filter(|name| !is_set(name) && told.is_new(&task.id, name)) {
            let message = format!("the secret {name}, which {} needs, is not set", task.id);
            errors.push(
                Diagnostic::error("build::unset_secret", message)
                    .label(task.at, "needs it")
                    .help(format!("set {name} in the environment of conductor")),
            );
        }
        if !task.tools.is_empty() && self.is_due_by_itself(index) {
            errors.extend(self.missing_tools(index, &task, told));
        }
    }

    /// A diagnostic for each declared tool that is not there.
    pub fn missing_tools(&mut self, index: TaskIndex, task: &Task, told: &mut Told) -> Vec<Diagnostic> {
        let values = self.tools_of(index, task, &[], false).values;
        let missing = task.tools.iter().zip(values).filter(|(_, (_, value))| world::is_missing(value));
        let missing = missing.filter(|(tool, _)| told.is_new(&task.id, &tool.name));
        missing
            .map(|(tool, (name, _))| {
                let program = matches!(tool.kind, ToolKind::Program(_));
                let what = if program { "is not on PATH" } else { "did not succeed" };
                Diagnostic::error(
                    "build::missing_tool",
                    format!("the tool {name}, which {} needs, {what}", task.id),
                )
                .label(tool.at, "declared here")
                .help("install it, or correct the name under `tools`")
            })
            .collect()
    }

    /// Stale for a reason of its own, so that it will certainly be started.
    fn is_due_by_itself(&mut self, index: TaskIndex) -> bool {
        self.is_candidate(index) && self.verdict(index).is_ok_and(|verdict| verdict.state != State::Fresh)
    }
}
