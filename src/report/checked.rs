//! What `check` found, as plain data for the readers that machines read: [`super::github`], [`super::sarif`],
//! [`super::junit`]. Knows neither the plan nor the engine.

use std::time::Duration;

use super::{Style, count, explain};
use crate::model::{Diagnostic, Place, Reason, Severity, Sources};

/// One task as it was judged.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its id.
    pub task: String,
    /// How it stands.
    pub standing: Standing,
    /// Where the manifest has it.
    pub at: Option<Place>,
    /// How long its recorded result took to make, where that is known.
    pub took: Option<Duration>,
    /// What that cost, in millionths of a US dollar, where that is known.
    pub micro_usd: Option<u64>,
}

/// How a task stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing to do.
    Fresh,
    /// It has these causes, the main one first.
    Stale(Vec<Reason>),
    /// It stands on this task, which is stale.
    Blocked(String),
    /// It runs each time.
    Always,
}

/// Something that is wrong beside the tasks: with the manifest, or with the lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Such as `lock::damaged`.
    pub code: String,
    /// An error? Else a warning.
    pub is_error: bool,
    /// What it is, and what to do about it.
    pub message: String,
    /// Where.
    pub at: Option<Place>,
}

/// All of it.
#[derive(Clone, Default, Debug)]
pub struct Findings {
    /// In the order of the manifest.
    pub tasks: Vec<Checked>,
    /// Beside the tasks.
    pub problems: Vec<Problem>,
    /// From the root of the repository to that of the workspace, with a `/` at its end, or empty: platforms know
    /// files by their places in the repository.
    pub prefix: String,
}

impl Checked {
    /// Where to point at: the line that brings the first cause in, else the task.
    pub fn place(&self) -> Option<&Place> {
        let first = match &self.standing {
            Standing::Stale(reasons) => reasons.first().and_then(|reason| reason.at.as_ref()),
            _ => None,
        };
        first.or(self.at.as_ref())
    }
}

impl Findings {
    /// Adds problems, with the first of their places.
    pub fn add_problems(&mut self, found: &[Diagnostic], sources: &Sources) {
        self.problems.extend(found.iter().map(|one| {
            let label = one.labels.first();
            let said = label.map(|label| format!(": {}", label.text)).unwrap_or_default();
            let help = one.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            let place = label.and_then(|label| {
                let file = sources.file(label.at)?;
                Some(Place { file: file.name.clone(), line: label.at.line, column: label.at.column })
            });
            Problem {
                code: one.code.clone(),
                is_error: one.severity == Severity::Error,
                message: format!("{}{said}{help}", one.message),
                at: place,
            }
        }));
    }

    /// A file as the platform knows it.
    pub(super) fn file(&self, place: &Place) -> String {
        format!("{}{}", self.prefix, place.file)
    }

    pub(super) fn count(&self, is: impl Fn(&Standing) -> bool) -> usize {
        self.tasks.iter().filter(|task| is(&task.standing)).count()
    }

    /// Is nothing stale?
    pub(super) fn is_fresh(&self) -> bool {
        !self.tasks.iter().any(|task| matches!(task.standing, Standing::Stale(_) | Standing::Blocked(_)))
    }

    /// `5 tasks: 3 fresh, 1 stale, 1 blocked`
    pub(super) fn headline(&self) -> String {
        let stale = self.count(|standing| matches!(standing, Standing::Stale(_)));
        let blocked = self.count(|standing| matches!(standing, Standing::Blocked(_)));
        let fresh = self.count(|standing| *standing == Standing::Fresh);
        format!("{}: {fresh} fresh, {stale} stale, {blocked} blocked", count(self.tasks.len(), "task"))
    }
}

/// Text that goes into files: glyphs, no colour.
const STYLE: Style = Style { color: false, unicode: true, width: 80 };

/// The causes as sentences.
pub(super) fn sentences(reasons: &[Reason]) -> Vec<String> {
    if reasons.is_empty() {
        return vec!["its checks must run again".to_owned()];
    }
    reasons.iter().map(|reason| explain::sentence(reason, STYLE)).collect()
}

/// The first cause and how many more there are.
pub(super) fn first(reasons: &[Reason]) -> String {
    explain::headline(reasons, STYLE)
}
