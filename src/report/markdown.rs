//! The execution log of one run as a Markdown document, what `conductor runs --format markdown` prints:
//! for each group its tasks with status, times, effort and validation, and its gate; then failures and
//! totals. Made of the run's events and of facts about the tasks that the caller lends.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{
    CheckEvidence, Diagnostic, Event, GroupId, Reason, Stamped, Status, TaskId, format_duration,
};

use super::runs::RunHead;
use super::text::{clean, count, moment, one_line};
use super::{Style, explain};

/// What the manifest says of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskFacts {
    /// Which.
    pub id: TaskId,
    /// `title:`
    pub title: Option<String>,
    /// `group:`
    pub group: Option<GroupId>,
    /// `role:`
    pub role: Option<String>,
    /// `effort:`
    pub effort: Option<Duration>,
}

/// What the manifest says of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupFacts {
    /// Which.
    pub id: GroupId,
    /// `title:`
    pub title: Option<String>,
    /// Does it have a gate, and is that in the run's scope?
    pub gate: bool,
}

/// What the caller knows besides the events.
pub struct Facts<'a> {
    /// `project:`
    pub project: Option<&'a str>,
    /// In the order of the manifest.
    pub groups: &'a [GroupFacts],
    /// The tasks in the run's scope, in the order of the manifest, gates left out.
    pub tasks: &'a [TaskFacts],
    /// The end of the output of a task that failed, where its log is still there.
    pub tail: &'a dyn Fn(&TaskId) -> Option<String>,
}

/// The whole document.
pub fn execution_log(events: impl IntoIterator<Item = impl Borrow<Stamped>>, facts: &Facts<'_>) -> String {
    let mut run = Run::default();
    for event in events {
        run.event(event.borrow());
    }
    let mut text = String::new();
    run.heading(&mut text, facts);
    for group in facts.groups {
        let tasks: Vec<_> =
            facts.tasks.iter().filter(|task| task.group.as_ref() == Some(&group.id)).collect();
        let gate = group.gate.then(|| TaskId::gate(&group.id));
        if tasks.is_empty() && gate.as_ref().is_none_or(|gate| !run.tasks.contains_key(gate)) {
            continue;
        }
        let title = group.title.as_ref().map(|title| format!(": {}", cell(title))).unwrap_or_default();
        let _ = writeln!(text, "## {}{title}\n", group.id);
        run.table(&mut text, &tasks);
        if let Some(gate) = gate {
            let _ = writeln!(text, "Gate: {}\n", run.gate(&gate));
        }
    }
    let others: Vec<_> = facts.tasks.iter().filter(|task| task.group.is_none()).collect();
    if !others.is_empty() {
        let _ = writeln!(text, "## {}\n", if facts.groups.is_empty() { "Tasks" } else { "Without a group" });
        run.table(&mut text, &others);
    }
    run.failures(&mut text, facts);
    run.warnings(&mut text);
    run.totals(&mut text, facts.tasks.iter());
    text
}

/// What the events say.
#[derive(Default)]
struct Run {
    head: RunHead,
    tasks: HashMap<TaskId, Trail>,
    /// In the order in which they failed.
    failed: Vec<TaskId>,
    warnings: Vec<Diagnostic>,
}

/// What became of a task.
#[derive(Default)]
struct Trail {
    /// Of its first attempt.
    started: Option<Duration>,
    /// Of the attempt that runs.
    since: Option<Duration>,
    /// All attempts together.
    used: Duration,
    attempts: u32,
    /// Of the last attempt.
    checks: Vec<CheckEvidence>,
    reasons: Vec<Reason>,
    status: Option<Status>,
    message: Option<String>,
    log: Option<String>,
}

impl Run {
    fn event(&mut self, event: &Stamped) {
        self.head.event(event);
        let now = Duration::from_millis(event.t);
        match &event.event {
            Event::TaskStarted { task, attempt, reasons, .. } => {
                let trail = self.tasks.entry(task.clone()).or_default();
                trail.started.get_or_insert(now);
                trail.since = Some(now);
                trail.attempts = *attempt;
                trail.checks.clear();
                trail.reasons.clone_from(reasons);
            }
            Event::CheckFinished { task, evidence, .. } => {
                self.tasks.entry(task.clone()).or_default().checks.push(evidence.clone());
            }
            Event::TaskRetry { task, .. } => self.tasks.entry(task.clone()).or_default().pause(now),
            Event::TaskFinished { task, status, message, log, .. } => {
                let trail = self.tasks.entry(task.clone()).or_default();
                trail.pause(now);
                trail.status = Some(*status);
                trail.message.clone_from(message);
                trail.log.clone_from(log);
                if *status == Status::Failed {
                    self.failed.push(task.clone());
                }
            }
            Event::Notice { diagnostic } => self.warnings.push(diagnostic.clone()),
            _ => {}
        }
    }

    /// Those that the events do not mention were fresh, if the run got so far as to tell.
    fn status(&self, task: &TaskId) -> &'static str {
        match self.tasks.get(task) {
            Some(Trail { status: Some(status), .. }) => status.name(),
            Some(_) => "unfinished",
            None if self.head.result.is_some() => "fresh",
            None => "",
        }
    }

    fn heading(&self, text: &mut String, facts: &Facts<'_>) {
        let head = &self.head;
        let project = facts.project.map(|project| format!(" of {}", cell(project))).unwrap_or_default();
        let _ = writeln!(text, "# Execution log{project}\n");
        let _ = writeln!(text, "- Run: {}", head.run);
        let _ = writeln!(text, "- Started: {}", moment(&head.started));
        let _ = writeln!(text, "- Result: {}", head.result_name());
        let _ = writeln!(text, "- Duration: {}", format_duration(head.duration));
        if !head.targets.is_empty() {
            let _ = writeln!(text, "- Targets: {}", cell(&head.targets.join(" ")));
        }
        let _ = writeln!(text, "- Tasks: {}\n", head.counts());
    }

    fn table(&self, text: &mut String, tasks: &[&TaskFacts]) {
        if tasks.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "| Task | Title | Role | Status | Started | Planned | Used | Attempts | Validation |\n\
             | --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |"
        );
        for facts in tasks {
            let trail = self.tasks.get(&facts.id);
            let cells = [
                cell(facts.id.as_str()),
                facts.title.as_deref().map(cell).unwrap_or_default(),
                facts.role.as_deref().map(cell).unwrap_or_default(),
                self.status(&facts.id).to_owned(),
                trail
                    .and_then(|it| it.started)
                    .map(|at| format!("+{}", format_duration(at)))
                    .unwrap_or_default(),
                facts.effort.map(effort).unwrap_or_default(),
                trail.filter(|it| it.attempts > 0).map(|it| format_duration(it.used)).unwrap_or_default(),
                trail.filter(|it| it.attempts > 0).map(|it| it.attempts.to_string()).unwrap_or_default(),
                trail.map(Trail::validation).unwrap_or_default(),
            ];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text.push('\n');
    }

    /// `passed (2 checks)`
    fn gate(&self, gate: &TaskId) -> String {
        let status = match self.status(gate) {
            "ran" | "cached" => "passed",
            "failed" => "refused",
            "" => "not reached",
            other => other,
        };
        match self.tasks.get(gate).map_or(0, |trail| trail.checks.len()) {
            0 => status.to_owned(),
            checks => format!("{status} ({})", count(checks, "check")),
        }
    }

    fn failures(&self, text: &mut String, facts: &Facts<'_>) {
        if self.failed.is_empty() {
            return;
        }
        let _ = writeln!(text, "## Failures\n");
        for (task, trail) in self.failed.iter().filter_map(|task| Some((task, self.tasks.get(task)?))) {
            let title = facts.tasks.iter().find(|it| it.id == *task).and_then(|it| it.title.as_deref());
            let _ = writeln!(text, "### {task} {}\n", title.map(cell).unwrap_or_default());
            let _ = writeln!(text, "{}\n", cell(trail.message.as_deref().unwrap_or("failed")));
            for check in trail.checks.iter().filter(|check| !check.passed) {
                let said = check.message.as_deref().map(|it| format!(": {}", cell(it))).unwrap_or_default();
                let _ = writeln!(text, "- Check refused: {}{said}", code(&check.check));
            }
            if !trail.reasons.is_empty() {
                let _ =
                    writeln!(text, "- Ran because: {}", cell(&explain::headline(&trail.reasons, UNICODE)));
            }
            if let Some(log) = &trail.log {
                let _ = writeln!(text, "- Log: {}", code(log));
            }
            text.push('\n');
            if let Some(tail) = (facts.tail)(task).filter(|tail| !tail.trim().is_empty()) {
                block(text, &tail);
            }
        }
    }

    fn warnings(&self, text: &mut String) {
        if self.warnings.is_empty() {
            return;
        }
        let _ = writeln!(text, "## Warnings\n");
        for warning in &self.warnings {
            let _ = writeln!(text, "- {}", cell(&warning.message));
        }
        text.push('\n');
    }

    fn totals<'a>(&self, text: &mut String, tasks: impl Iterator<Item = &'a TaskFacts>) {
        let (mut planned, mut used, mut attempts) = (Duration::ZERO, Duration::ZERO, 0);
        for facts in tasks {
            let Some(trail) = self.tasks.get(&facts.id).filter(|trail| trail.attempts > 0) else { continue };
            planned += facts.effort.unwrap_or_default();
            used += trail.used;
            attempts += trail.attempts;
        }
        let _ = writeln!(text, "## Totals\n");
        if attempts == 0 {
            let _ = writeln!(text, "Nothing ran.");
            return;
        }
        let _ = writeln!(text, "Of the tasks that ran:\n");
        let _ = writeln!(text, "- Effort planned: {}", effort(planned));
        let _ = writeln!(text, "- Effort used: {}", format_duration(used));
        let _ = writeln!(text, "- Attempts: {attempts}");
        let _ = writeln!(text, "- Wall-clock time: {}", format_duration(self.head.duration));
    }
}

/// A document is UTF-8 whatever terminal it passes through.
const UNICODE: Style = Style { unicode: true, ..Style::PLAIN };

impl Trail {
    /// The attempt ended.
    fn pause(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.used += now.saturating_sub(since);
        }
    }

    /// `3 passed`, `1 of 3 refused`; empty where nothing was checked.
    fn validation(&self) -> String {
        let refused = self.checks.iter().filter(|check| !check.passed).count();
        match (self.checks.len(), refused) {
            (0, _) => String::new(),
            (all, 0) => format!("{all} passed"),
            (all, refused) => format!("{refused} of {all} refused"),
        }
    }
}

/// An estimate as it was written: `4h`, not `4h00m`.
fn effort(effort: Duration) -> String {
    let text = format_duration(effort);
    text.strip_suffix("00m").or_else(|| text.strip_suffix("00s")).unwrap_or(&text).to_owned()
}

/// Text that means itself, on one line and within a table.
fn cell(text: &str) -> String {
    let mut escaped = String::new();
    for c in one_line(text).chars() {
        if matches!(c, '|' | '\\' | '`' | '*' | '<' | '[') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Inline code; longer fences where the text holds backticks.
fn code(text: &str) -> String {
    let text = one_line(text);
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// A fenced block; the fence is longer than any run of backticks within.
fn block(text: &mut String, content: &str) {
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(text, "{fence}text");
    for line in content.lines() {
        let _ = writeln!(text, "{}", clean(line));
    }
    let _ = writeln!(text, "{fence}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ReasonKind, RunOutcome};
    use crate::report::testing::{Story, changed, failing_build, titles};

    fn log(story: &Story) -> String {
        let group = |id: &str, title: &str| GroupFacts {
            id: GroupId::new(id),
            title: Some(title.to_owned()),
            gate: true,
        };
        let task = |id: &str, group: Option<&str>, hours: u64| TaskFacts {
            id: TaskId::new(id),
            title: titles().get(&TaskId::new(id)),
            group: group.map(GroupId::new),
            role: Some("backend | engineer".to_owned()),
            effort: Some(Duration::from_secs(hours * 3600)),
        };
        let groups = [group("GROUP_A", "Foundation"), group("GROUP_C", "APIs"), group("GROUP_D", "UI")];
        let tasks = [
            task("T1", Some("GROUP_A"), 4),
            task("T3", Some("GROUP_A"), 3),
            task("T9", Some("GROUP_C"), 6),
            task("T10", Some("GROUP_C"), 2),
            task("T30", None, 1),
        ];
        let tail = |id: &TaskId| (id.as_str() == "T9").then(|| "cc: error:\n```\nno such file".to_owned());
        execution_log(
            &story.events,
            &Facts { project: Some("phase-5.3"), groups: &groups, tasks: &tasks, tail: &tail },
        )
    }

    #[test]
    fn a_failing_run_is_told_group_by_group() {
        insta::assert_snapshot!(log(&failing_build()));
    }

    #[test]
    fn attempts_and_gates_are_counted() {
        let story = Story::new(5, 1)
            .start("T3", vec![changed("a")])
            .after(1000)
            .retry("T3", 1, "exit status 1")
            .after(5000)
            .attempt("T3", 2, vec![changed("a")])
            .after(2000)
            .check("T3", "non_empty: a", None, 1)
            .end("T3", Status::Ran, 2000)
            .start("GROUP_A:gate", vec![Reason::new(ReasonKind::NeverBuilt)])
            .check("GROUP_A:gate", "run: ./smoke.sh", None, 1)
            .end("GROUP_A:gate", Status::Ran, 1)
            .start("T9", vec![changed("a")])
            .finish(RunOutcome::Cancelled);
        insta::assert_snapshot!(log(&story));
    }
}
