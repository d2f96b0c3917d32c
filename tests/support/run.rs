//! A finished run of conductor: its code, its words, and what its JSON says. Every assertion that fails shows
//! the whole of it.

use std::process::{Command, Output};

use serde_json::Value;

/// How a command ended.
pub(crate) struct Run {
    pub(crate) args: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command, args: &[&str]) -> Self {
        Self::new(&command.output().unwrap(), args)
    }

    /// A run that has ended. A code of -1 stands for a signal that nobody caught.
    pub(crate) fn new(output: &Output, args: &[&str]) -> Self {
        Self {
            args: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It ended with 0.
    #[track_caller]
    pub(crate) fn success(&self) -> &Self {
        self.fails_with(0)
    }

    /// It ended with this code, and without a panic.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "exit code of {self}");
        assert!(!self.stderr.contains("panicked at"), "a panic reached the user: {self}");
        self
    }

    /// The one document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value = serde_json::from_str(&self.stdout);
        value.unwrap_or_else(|error| panic!("standard output is not one JSON document ({error}): {self}"))
    }

    /// These tasks and no others ended as `status`.
    #[track_caller]
    pub(crate) fn are(&self, status: &str, tasks: &[&str]) -> &Self {
        let document = self.json();
        let all = document["tasks"].as_object().unwrap_or_else(|| panic!("no tasks in {self}"));
        let mut found: Vec<&str> =
            all.iter().filter(|(_, task)| task["status"] == status).map(|(id, _)| id.as_str()).collect();
        let mut wanted = tasks.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "tasks with status {status} in {self}");
        self
    }

    /// The commands of these tasks and no others ran.
    #[track_caller]
    pub(crate) fn ran(&self, tasks: &[&str]) -> &Self {
        self.are("ran", tasks)
    }

    /// These tasks and no others were fresh.
    #[track_caller]
    pub(crate) fn fresh(&self, tasks: &[&str]) -> &Self {
        self.are("fresh", tasks)
    }

    /// These tasks and no others failed.
    #[track_caller]
    pub(crate) fn failed(&self, tasks: &[&str]) -> &Self {
        self.are("failed", tasks)
    }

    /// These tasks and no others were skipped.
    #[track_caller]
    pub(crate) fn skipped(&self, tasks: &[&str]) -> &Self {
        self.are("skipped", tasks)
    }

    /// Of these tasks and no others the checks alone ran, and accepted.
    #[track_caller]
    pub(crate) fn checked_again(&self, tasks: &[&str]) -> &Self {
        let document = self.json();
        let all = document["tasks"].as_object().unwrap();
        let validated = all.iter().filter(|(_, task)| task["validated"] == true);
        let mut found: Vec<&str> = validated.map(|(id, _)| id.as_str()).collect();
        let mut wanted = tasks.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "tasks that were checked again in {self}");
        self
    }

    /// It ended with 0 and no command ran.
    #[track_caller]
    pub(crate) fn runs_nothing(&self) -> &Self {
        self.success().ran(&[]).checked_again(&[])
    }

    /// What the document says of a task.
    #[track_caller]
    pub(crate) fn task(&self, id: &str) -> Value {
        let task = self.json()["tasks"][id].clone();
        assert!(task.is_object(), "no task {id} in {self}");
        task
    }

    /// A task's reasons: in `build`'s and `check`'s documents by its id, in `why`'s the only ones.
    #[track_caller]
    pub(crate) fn reasons(&self, id: &str) -> Vec<Value> {
        let document = self.json();
        let task = if document["task"] == id { &document } else { &document["tasks"][id] };
        task["reasons"].as_array().unwrap_or_else(|| panic!("no reasons of {id} in {self}")).clone()
    }

    /// The kinds of a task's reasons, in their order.
    #[track_caller]
    pub(crate) fn kinds(&self, id: &str) -> Vec<String> {
        self.reasons(id).iter().map(|reason| reason["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// The task has exactly this one reason; gives it back.
    #[track_caller]
    pub(crate) fn reason(&self, id: &str, kind: &str) -> Value {
        assert_eq!(self.kinds(id), [kind], "reasons of {id} in {self}");
        self.reasons(id)[0].clone()
    }

    /// The state of a task in `check`, `list` and `--dry-run`.
    #[track_caller]
    pub(crate) fn state(&self, id: &str) -> String {
        self.task(id)["state"].as_str().unwrap_or_else(|| panic!("no state of {id} in {self}")).to_owned()
    }

    /// Both streams hold this text between them.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "`{text}` is not in {self}");
        self
    }

    /// Neither stream holds this text.
    #[track_caller]
    pub(crate) fn never_says(&self, text: &str) -> &Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "`{text}` is in {self}");
        self
    }

    /// The diagnostics of an error document.
    #[track_caller]
    pub(crate) fn diagnostics(&self) -> Vec<Value> {
        let document = self.json();
        assert_eq!(document["version"], 1, "{self}");
        let found = document["diagnostics"].as_array().unwrap_or_else(|| panic!("no diagnostics: {self}"));
        assert!(!found.is_empty(), "{self}");
        for diagnostic in found {
            for key in ["code", "severity", "message"] {
                assert!(diagnostic[key].is_string(), "no {key} in {self}");
            }
            assert!(diagnostic["labels"].is_array(), "no labels in {self}");
        }
        found.clone()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { args, code, stdout, stderr } = self;
        write!(f, "`conductor {args}` (exit {code})\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}
