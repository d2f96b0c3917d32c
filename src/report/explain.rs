//! A [`Reason`] as a sentence. Progress, the summary, `check` and `why` all say it with these words, so
//! that a cause reads the same wherever it is met.

use crate::model::{CheckEvidence, Place, Reason, ReasonKind, format_duration};

use super::Style;
use super::style::Paint;
use super::text::{one_line, shorten};

/// Values longer than this are cut within a sentence; [`paragraph`] shows more of them.
const VALUE: usize = 40;
/// Lines of an old and of a new value that [`paragraph`] shows.
const DIFF_LINES: usize = 6;

/// What a check did, in one line: `passed run: sh -n out.sh  exit 0, 3ms, output 6fd2b81`.
pub fn evidence(evidence: &CheckEvidence) -> String {
    let verdict = if evidence.passed { "passed" } else { "failed" };
    let check = one_line(&evidence.check);
    let Some(exit) = evidence.exit else { return format!("{verdict} {check}") };
    let (time, log) = (format_duration(evidence.duration), evidence.log.short());
    format!("{verdict} {check}  exit {exit}, {time}, output {log}")
}

/// The cause in one line, without a full stop: `src/a.txt changed (1f2e3a4 → 77aab01)`.
pub fn sentence(reason: &Reason, style: Style) -> String {
    let words = Words { reason, style };
    match reason.kind {
        ReasonKind::NeverBuilt => words.of_task("was never built", "never built"),
        ReasonKind::PreviousFailed if reason.name.as_deref() == Some("paused") => reason
            .new
            .as_ref()
            .map_or_else(|| "paused".to_owned(), |why| format!("paused: {}", one_line(why))),
        ReasonKind::PreviousFailed => words.with_message("the last run failed"),
        ReasonKind::Forced => "forced".to_owned(),
        ReasonKind::Always => "always runs".to_owned(),
        ReasonKind::CommandChanged => words.command(),
        ReasonKind::DefinitionChanged => words.named_values("", "definition"),
        ReasonKind::EnvChanged => words.named_values("variable ", "a variable"),
        ReasonKind::ToolChanged => words.named_values("tool ", "a tool"),
        ReasonKind::InputChanged => words.content("changed"),
        ReasonKind::InputAdded => words.appeared(),
        ReasonKind::InputRemoved => words.disappeared(),
        ReasonKind::DependencyChanged => words.dependency(),
        ReasonKind::OutputMissing => format!("output {} is missing", words.subject("of this task")),
        ReasonKind::OutputModified => format!("output {}", words.content("was changed since it was made")),
        ReasonKind::ValidationChanged => words.check(),
        // A person refused it: `conductor reject --note`.
        ReasonKind::ValidationFailed if reason.name.as_deref() == Some("approve") => {
            format!("rejected: {}", one_line(reason.new.as_deref().unwrap_or("no reason was given")))
        }
        ReasonKind::ValidationFailed => words.with_message("a check refused the result"),
        ReasonKind::ChangedDuringRun => format!("{} changed while the task ran", words.subject("an input")),
        ReasonKind::RolledBack => words.of_task("was rolled back", "rolled back"),
        ReasonKind::GateFailed => words.of_task("refused", "the gate refused"),
        ReasonKind::ApprovalMissing => "waits for approval".to_owned(),
        ReasonKind::NotInCache => "its result is not in the cache".to_owned(),
    }
}

/// The first cause, and how many more there are.
pub fn headline(reasons: &[Reason], style: Style) -> String {
    match reasons {
        [] => String::new(),
        [only] => sentence(only, style),
        [first, rest @ ..] => format!("{} (+{})", sentence(first, style), rest.len()),
    }
}

/// The cause with the manifest's line that brings it in, followed by what changed in a value that is too
/// long for a sentence: its lines that went (`-`) and came (`+`).
pub fn paragraph(reason: &Reason, style: Style) -> Vec<String> {
    let mut first = sentence(reason, style);
    if let Some(at) = &reason.at {
        first = format!("{first}  {}", style.paint(Paint::Dim, &place(at)));
    }
    let mut lines = vec![first];
    if let (Some(old), Some(new)) = (&reason.old, &reason.new)
        && is_shown_as_lines(reason.kind, old, new)
    {
        lines.extend(difference(old, new, style));
    }
    lines
}

/// `conductor.yaml:12:5`, which editors and terminals make a link of.
pub fn place(place: &Place) -> String {
    format!("{}:{}:{}", place.file, place.line, place.column)
}

fn is_shown_as_lines(kind: ReasonKind, old: &str, new: &str) -> bool {
    let long = |value: &str| value.contains('\n') || value.chars().count() > VALUE;
    match kind {
        ReasonKind::CommandChanged => true,
        ReasonKind::DefinitionChanged
        | ReasonKind::EnvChanged
        | ReasonKind::ToolChanged
        | ReasonKind::ValidationChanged => long(old) || long(new),
        _ => false,
    }
}

/// The lines between what both values begin and end with.
fn difference(old: &str, new: &str, style: Style) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut lines = Vec::new();
    for (sign, paint, side) in [('-', Paint::Bad, old), ('+', Paint::Good, new)] {
        let changed = &side[..side.len() - end];
        for line in changed.iter().take(DIFF_LINES) {
            let width = style.width.saturating_sub(8).max(VALUE);
            let line = shorten(&one_line(line), width, style.ellipsis());
            lines.push(style.paint(paint, &format!("{sign} {line}")));
        }
        if changed.len() > DIFF_LINES {
            lines.push(style.paint(Paint::Dim, &format!("{sign} ({} more)", changed.len() - DIFF_LINES)));
        }
    }
    lines
}

/// A reason on its way to a sentence.
struct Words<'a> {
    reason: &'a Reason,
    style: Style,
}

impl Words<'_> {
    /// The path, or the name, or what stands for them.
    fn subject(&self, otherwise: &str) -> String {
        match (&self.reason.path, &self.reason.name) {
            (Some(path), _) => path.to_string(),
            (None, Some(name)) => one_line(name),
            (None, None) => otherwise.to_owned(),
        }
    }

    fn of_task(&self, predicate: &str, alone: &str) -> String {
        match &self.reason.task {
            Some(task) => format!("{task} {predicate}"),
            None => alone.to_owned(),
        }
    }

    fn with_message(&self, message: &str) -> String {
        match self.reason.name.as_ref().or(self.reason.new.as_ref()) {
            Some(detail) => format!("{message}: {}", self.value(detail)),
            None => message.to_owned(),
        }
    }

    fn command(&self) -> String {
        match self.reason.name.as_deref() {
            None | Some("run") => "command changed".to_owned(),
            Some("instructions") => "instructions changed".to_owned(),
            Some(_) => self.named_values("", "command"),
        }
    }

    /// `variable PGVERSION changed: "15" → "16"`.
    fn named_values(&self, noun: &str, otherwise: &str) -> String {
        let name = match &self.reason.name {
            Some(name) => format!("{noun}{}", self.value(name)),
            None => otherwise.to_owned(),
        };
        let arrow = self.style.arrow();
        match (&self.reason.old, &self.reason.new) {
            (Some(old), Some(new)) if is_digest(old) && is_digest(new) => {
                format!("{name} changed ({} {arrow} {})", self.digest(old), self.digest(new))
            }
            (Some(old), Some(new)) if !old.contains('\n') && !new.contains('\n') => {
                format!("{name} changed: {} {arrow} {}", self.quoted(old), self.quoted(new))
            }
            (None, Some(new)) => format!("{name} is declared now: {}", self.quoted(new)),
            (Some(_), None) => format!("{name} is no longer declared"),
            _ => format!("{name} changed"),
        }
    }

    /// `src/a.txt changed (1f2e3a4 → 77aab01)`.
    fn content(&self, predicate: &str) -> String {
        let subject = self.subject("an input");
        match (&self.reason.old, &self.reason.new) {
            (Some(old), Some(new)) => {
                let arrow = self.style.arrow();
                format!("{subject} {predicate} ({} {arrow} {})", self.digest(old), self.digest(new))
            }
            _ => format!("{subject} {predicate}"),
        }
    }

    /// A path that is named but was absent is created; one that a glob found is new among the inputs.
    fn appeared(&self) -> String {
        let created = self.reason.old.is_some();
        format!("{} {}", self.subject("an input"), if created { "was created" } else { "is a new input" })
    }

    fn disappeared(&self) -> String {
        let deleted = self.reason.new.is_some();
        let predicate = if deleted { "was deleted" } else { "is no longer an input" };
        format!("{} {predicate}", self.subject("an input"))
    }

    /// `T3 made a different build/router.sh`.
    fn dependency(&self) -> String {
        let task = self.reason.task.as_ref().map_or("a needed task", |task| task.as_str());
        let Some(path) = &self.reason.path else { return format!("{task} made something different") };
        let there = |side: &Option<String>| side.as_deref().is_some_and(|entry| entry != "absent");
        match (there(&self.reason.old), there(&self.reason.new)) {
            (false, true) => format!("{task} made a new {path}"),
            (true, false) => format!("{task} no longer makes {path}"),
            _ => format!("{task} made a different {path}"),
        }
    }

    fn check(&self) -> String {
        if self.reason.path.is_some() {
            return format!("{}, which a check reads", self.content("changed"));
        }
        let arrow = self.style.arrow();
        match (&self.reason.old, &self.reason.new) {
            (Some(old), Some(new)) => {
                format!("check changed: {} {arrow} {}", self.value(old), self.value(new))
            }
            (None, Some(new)) => format!("new check: {}", self.value(new)),
            (Some(old), None) => format!("check removed: {}", self.value(old)),
            (None, None) => "checks changed".to_owned(),
        }
    }

    fn value(&self, value: &str) -> String {
        shorten(&one_line(value), VALUE, self.style.ellipsis())
    }

    fn quoted(&self, value: &str) -> String {
        if value == "(unset)" { "unset".to_owned() } else { format!("\"{}\"", self.value(value)) }
    }

    /// A digest as short as git shows them, with what stands behind it.
    fn digest(&self, value: &str) -> String {
        if !is_digest(value) {
            return self.value(value);
        }
        let (digest, rest) = value.split_at(value.find(' ').unwrap_or(value.len()));
        format!("{}{rest}", digest.get(..7).unwrap_or(digest))
    }
}

/// Does it begin with a digest, short or whole?
fn is_digest(value: &str) -> bool {
    let word = value.split(' ').next().unwrap_or_default();
    word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskId;
    use crate::report::testing::{UNICODE, changed, path};

    #[track_caller]
    fn check(reason: &Reason, expected: &str) {
        assert_eq!(sentence(reason, UNICODE), expected);
    }

    fn reason(kind: ReasonKind) -> Reason {
        Reason::new(kind)
    }

    #[test]
    fn files_are_named_with_what_happened_to_them() {
        check(&changed("src/a.txt"), "src/a.txt changed (96a4257 → b20ab0a)");
        assert_eq!(sentence(&changed("a"), Style::PLAIN), "a changed (96a4257 -> b20ab0a)");
        let added = reason(ReasonKind::InputAdded).path(&path("b"));
        check(&added, "b is a new input");
        check(&added.old("absent"), "b was created");
        let removed = reason(ReasonKind::InputRemoved).path(&path("b"));
        check(&removed, "b is no longer an input");
        check(&removed.new_value("absent"), "b was deleted");
        check(&reason(ReasonKind::OutputMissing).path(&path("db/x.sql")), "output db/x.sql is missing");
        check(
            &Reason { kind: ReasonKind::OutputModified, ..changed("db/x.sql") },
            "output db/x.sql was changed since it was made (96a4257 → b20ab0a)",
        );
        check(&reason(ReasonKind::ChangedDuringRun).path(&path("a")), "a changed while the task ran");
    }

    #[test]
    fn values_are_shown_before_and_after() {
        let env = reason(ReasonKind::EnvChanged).name("PGVERSION").old("15");
        check(&env.clone().new_value("16"), "variable PGVERSION changed: \"15\" → \"16\"");
        check(&env.clone().new_value("(unset)"), "variable PGVERSION changed: \"15\" → unset");
        check(&env, "variable PGVERSION is no longer declared");
        check(&reason(ReasonKind::EnvChanged).name("X").new_value("1"), "variable X is declared now: \"1\"");
        let tool = reason(ReasonKind::ToolChanged).name("cc");
        check(
            &tool.old("0123456789abcdef").new_value("fedcba9876543210"),
            "tool cc changed (0123456 → fedcba9)",
        );
        check(&reason(ReasonKind::DefinitionChanged).name("outputs"), "outputs changed");
    }

    #[test]
    fn a_needed_task_is_named_with_what_it_made() {
        let edge = Reason { kind: ReasonKind::DependencyChanged, ..changed("build/router.sh") };
        let edge = edge.task(&TaskId::new("T3"));
        check(&edge, "T3 made a different build/router.sh");
        check(&edge.clone().old("absent"), "T3 made a new build/router.sh");
        check(&Reason { new: None, ..edge }, "T3 no longer makes build/router.sh");
        check(&reason(ReasonKind::NeverBuilt).task(&TaskId::new("T3")), "T3 was never built");
        check(&reason(ReasonKind::NeverBuilt), "never built");
    }

    #[test]
    fn checks_are_named() {
        let check_changed = reason(ReasonKind::ValidationChanged);
        check(&check_changed.clone().new_value("non_empty: a"), "new check: non_empty: a");
        check(
            &check_changed.old("non_empty: a").new_value("non_empty: b"),
            "check changed: non_empty: a → non_empty: b",
        );
        check(
            &Reason { kind: ReasonKind::ValidationChanged, ..changed("c.sql") },
            "c.sql changed (96a4257 → b20ab0a), which a check reads",
        );
        check(
            &reason(ReasonKind::ValidationFailed).name("non_empty: a"),
            "a check refused the result: non_empty: a",
        );
    }

    #[test]
    fn several_reasons_are_the_first_and_a_count() {
        assert_eq!(
            headline(&[reason(ReasonKind::Forced), changed("a"), changed("b")], UNICODE),
            "forced (+2)"
        );
        assert_eq!(headline(&[], UNICODE), "");
    }

    #[test]
    fn a_paragraph_has_the_place_and_the_lines_that_differ() {
        let at = Place { file: "conductor.yaml".to_owned(), line: 12, column: 5 };
        let command = reason(ReasonKind::CommandChanged)
            .name("run")
            .old("mkdir -p db\n./schema.sh > db/x.sql\nls")
            .new_value("mkdir -p db\n./schema.sh --strict > db/x.sql\nls");
        let lines = paragraph(&Reason { at: Some(at), ..command }, UNICODE);
        assert_eq!(
            lines,
            [
                "command changed  conductor.yaml:12:5",
                "- ./schema.sh > db/x.sql",
                "+ ./schema.sh --strict > db/x.sql"
            ]
        );
    }

    #[test]
    fn what_a_manifest_says_cannot_disturb_the_terminal() {
        check(
            &reason(ReasonKind::EnvChanged).name("X").old("\u{1b}[2Ja").new_value("b"),
            "variable X changed: \"a\" → \"b\"",
        );
    }
}
