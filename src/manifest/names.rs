//! Ids, namespaces and what a name refers to.

use std::collections::HashMap;
use std::ops::Range;

use super::problems::Problems;
use crate::model::{At, Diagnostic, GroupId, Reference, TaskId};

/// Is `text` an id: `[A-Za-z0-9_][A-Za-z0-9_.-]*`?
pub(super) fn is_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Is `text` the name of a variable: `[A-Za-z_][A-Za-z0-9_]*`?
pub(super) fn is_variable(text: &str) -> bool {
    is_id(text) && !text.starts_with(|first: char| first.is_ascii_digit()) && !text.contains(['.', '-'])
}

/// The diagnostic for a name that is no id.
pub(super) fn bad_name(what: &str, name: &str, at: At) -> Diagnostic {
    Diagnostic::error("manifest::bad_id", format!("`{name}` cannot name a {what}"))
        .label(at, "letters, digits, `_`, `.` and `-`; not `.` or `-` first")
}

/// `id` inside `namespace`.
pub(super) fn qualify(namespace: &str, id: &str) -> String {
    if namespace.is_empty() { id.to_owned() } else { format!("{namespace}:{id}") }
}

/// What an id stands for.
pub(super) enum Named {
    Group,
    /// A task: its instances in [`Names::instances`], one unless it has a matrix.
    Task(Range<usize>),
}

/// All ids of all files.
#[derive(Default)]
pub(super) struct Names {
    named: HashMap<String, (Named, At)>,
    /// Ids of all tasks, instances of one task next to each other.
    pub(super) instances: Vec<TaskId>,
    /// Instances of matrix tasks, by their whole id.
    by_instance: HashMap<String, usize>,
    /// Some names are unknown because a file could not be read.
    pub(super) incomplete: bool,
}

impl Names {
    /// Adds a group; the diagnostic when its id is taken.
    pub(super) fn add_group(&mut self, id: String, at: At) -> Result<(), Box<Diagnostic>> {
        self.check(&id, at, "group")?;
        self.named.insert(id, (Named::Group, at));
        Ok(())
    }

    /// Adds a task with its instances; the diagnostic when its id is taken.
    pub(super) fn add_task(
        &mut self,
        id: String,
        at: At,
        instances: Vec<TaskId>,
    ) -> Result<(), Box<Diagnostic>> {
        self.check(&id, at, "task")?;
        let first = self.instances.len();
        for instance in instances {
            if instance.as_str() != id {
                self.by_instance.insert(instance.as_str().to_owned(), self.instances.len());
            }
            self.instances.push(instance);
        }
        self.named.insert(id, (Named::Task(first..self.instances.len()), at));
        Ok(())
    }

    fn check(&self, id: &str, at: At, what: &str) -> Result<(), Box<Diagnostic>> {
        let Some((named, first)) = self.named.get(id) else { return Ok(()) };
        let other = if matches!(named, Named::Group) { "group" } else { "task" };
        Err(Box::new(if other == what {
            Diagnostic::error("manifest::duplicate_id", format!("there are two {what}s `{id}`"))
                .label(at, "the second one")
                .label(*first, "the first one")
                .help("give one of the files a `namespace:`, or one of them another id")
        } else {
            Diagnostic::error("manifest::task_and_group", format!("`{id}` is both a task and a group"))
                .label(at, format!("the {what}"))
                .label(*first, format!("the {other}"))
                .help("a target must be one or the other: rename one of them")
        }))
    }

    /// The whole id that `name`, written in `namespace`, stands for: `:T1` the root's, a bare id one of
    /// the own namespace, and `api:T1` one below the own namespace, else below the root.
    fn whole_id(&self, namespace: &str, name: &str) -> Option<String> {
        let known =
            |id: String| (self.named.contains_key(&id) || self.by_instance.contains_key(&id)).then_some(id);
        if let Some(id) = name.strip_prefix(':') {
            return known(id.to_owned());
        }
        let own = known(qualify(namespace, name));
        // Matrix values may hold a colon; only one before them makes a namespace.
        let base = name.split('[').next().unwrap_or(name);
        if own.is_none() && base.contains(':') { known(name.to_owned()) } else { own }
    }

    /// What `name` stands for, where it is known.
    pub(super) fn resolve(&self, namespace: &str, name: &str, at: At) -> Option<Vec<Reference>> {
        let id = self.whole_id(namespace, name)?;
        if self.by_instance.contains_key(&id) {
            return Some(vec![Reference::Task(TaskId::new(id), at)]);
        }
        match self.named.get(&id)? {
            (Named::Group, _) => Some(vec![Reference::Group(GroupId::new(id), at)]),
            (Named::Task(range), _) => {
                let instances = self.instances.get(range.clone()).unwrap_or_default();
                Some(instances.iter().map(|instance| Reference::Task(instance.clone(), at)).collect())
            }
        }
    }

    /// The group that `name` stands for.
    pub(super) fn group(&self, namespace: &str, name: &str) -> Option<GroupId> {
        let id = self.whole_id(namespace, name)?;
        matches!(self.named.get(&id), Some((Named::Group, _))).then(|| GroupId::new(id))
    }

    /// The diagnostic for a name that is no task (nor group, unless only `groups` are asked for).
    pub(super) fn unknown(&self, problems: &Problems, name: &str, at: At, groups: bool) {
        /// As many names are listed when none of them is near.
        const LISTED: usize = 12;
        if self.incomplete {
            return;
        }
        let (code, what) = if groups {
            ("manifest::unknown_group", "group")
        } else {
            ("manifest::unknown_reference", "task or group")
        };
        let known = || {
            let named = self.named.iter().filter(|(_, (named, _))| !groups || matches!(named, Named::Group));
            let instances = self.by_instance.keys().filter(|_| name.contains('['));
            named.map(|(id, _)| id).chain(instances).map(String::as_str)
        };
        let listed = || {
            let mut few: Vec<&str> = known().take(LISTED + 1).collect();
            few.sort_unstable();
            match few.len() {
                0 => format!("there is no {what} at all"),
                1..=LISTED => format!("there are: {}", few.join(", ")),
                _ => "`conductor list` shows all of them".to_owned(),
            }
        };
        let meant = problems.nearest(name.trim_start_matches(':'), known());
        let help = meant.map_or_else(listed, |meant| format!("did you mean `{meant}`?"));
        problems.push(
            Diagnostic::error(code, format!("there is no {what} `{name}`")).label(at, "not known").help(help),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_words() {
        for id in ["T1", "_x", "1.a-b"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "-a", ".a", "a b", "a:b", "é", "a[b]"] {
            assert!(!is_id(id), "{id}");
        }
        assert!(is_variable("PATH_1") && !is_variable("1PATH") && !is_variable("a-b"));
    }

    fn names() -> Names {
        let mut names = Names::default();
        let mut task =
            |id: &str| names.add_task(id.to_owned(), At::default(), vec![TaskId::new(id)]).unwrap();
        for id in ["T1", "api:T1", "api:sub:T2"] {
            task(id);
        }
        names.add_group("api:G".to_owned(), At::default()).unwrap();
        names
    }

    #[track_caller]
    fn check(namespace: &str, name: &str, expected: Option<&str>) {
        assert_eq!(names().whole_id(namespace, name).as_deref(), expected);
    }

    #[test]
    fn a_bare_id_is_one_of_its_own_namespace() {
        check("", "T1", Some("T1"));
        check("api", "T1", Some("api:T1"));
        check("web", "T1", None);
    }

    #[test]
    fn a_colon_in_front_means_the_root() {
        check("api", ":T1", Some("T1"));
        check("api", ":api:G", Some("api:G"));
    }

    #[test]
    fn a_namespace_is_sought_below_the_own_one_first() {
        check("web", "api:T1", Some("api:T1"));
        check("api", "sub:T2", Some("api:sub:T2"));
        check("api", "api:sub:T2", Some("api:sub:T2"));
    }

    #[test]
    fn an_id_is_taken_once() {
        let mut names = names();
        let code = |result: Result<(), Box<Diagnostic>>| result.unwrap_err().code;
        assert_eq!(
            code(names.add_task("T1".to_owned(), At::default(), Vec::new())),
            "manifest::duplicate_id"
        );
        assert_eq!(code(names.add_group("T1".to_owned(), At::default())), "manifest::task_and_group");
    }
}
