//! Where the cache is and how it may be used: the environment, then the manifest, then what CI says of the ref that
//! it builds.
//!
//! | variable | |
//! | --- | --- |
//! | `CONDUCTOR_CACHE` | `off`, `ro` or `rw`: at most that |
//! | `CONDUCTOR_CACHE_DIR` | the folder |
//! | `CONDUCTOR_CACHE_KEY`, `…_KEY_FILE` | the secret key that entries are signed with |
//! | `CONDUCTOR_CACHE_TRUST`, `…_TRUST_FILE` | public keys; nothing counts that none of them signed |

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;

use super::session::Session;
use crate::execute::would_be_restored;
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Engine, Standing};
use crate::model::Diagnostic;
use crate::process::TASK_VARIABLE;
use crate::store::{Cache, CacheOptions, Keys, Maker};
use crate::worktree::Repository;

/// A cache that was looked for.
pub(super) struct Found {
    /// None where it is off.
    pub(super) cache: Option<Cache>,
    /// Why it is off, or may not be written although the manifest does not say so.
    pub(super) because: Option<String>,
    /// What a person should know.
    pub(super) notices: Vec<Diagnostic>,
}

/// Opens the cache of a workspace.
pub(super) fn find(session: &Session, repository: Option<&Repository>) -> Found {
    let caller = &session.caller;
    let off = |because: String| Found { cache: None, because: Some(because), notices: Vec::new() };
    if caller.0.contains_key(OsStr::new(TASK_VARIABLE)) {
        return off("this is inside a running task".to_owned());
    }
    let (mut read, mut write, mut because) = policies(session);
    let mut notices = Vec::new();
    match caller.text("CONDUCTOR_CACHE").as_deref() {
        None | Some("" | "rw") => {}
        Some("ro") => (write, because) = (false, Some("CONDUCTOR_CACHE=ro".to_owned())),
        Some("off") => return off("CONDUCTOR_CACHE=off".to_owned()),
        Some(other) => {
            let message = format!("CONDUCTOR_CACHE is `{other}`, which says nothing; the cache is off");
            let notice = Diagnostic::warning("cache::variable", message).help("write `off`, `ro` or `rw`");
            return Found { notices: vec![notice], ..off(format!("CONDUCTOR_CACHE={other}")) };
        }
    }
    let keys = match keys(session) {
        Ok(keys) => keys,
        // Nothing unsigned may pass because a key is mistyped.
        Err(message) => {
            (read, write) = (false, false);
            because = Some(message.clone());
            notices.push(
                Diagnostic::warning("cache::keys", format!("the cache is off: {message}"))
                    .help("a key is 64 hexadecimal digits, such as `openssl rand -hex 32` prints"),
            );
            Keys::default()
        }
    };
    let options = CacheOptions {
        dir: dir(session, repository),
        read,
        write,
        keys,
        root: session.workspace.root().to_owned(),
        folder: session.folder.clone(),
    };
    Found { cache: Some(Cache::open(options)), because, notices }
}

/// The stale tasks whose results a build would restore. Nothing is written.
pub(super) fn restorable(
    session: &Session,
    engine: &mut Engine,
    standings: &BTreeMap<TaskIndex, Standing>,
) -> BTreeSet<TaskIndex> {
    let due = |standing: &Standing| matches!(standing, Standing::Stale { validation_only: false, .. });
    let repository = Repository::discover(session.workspace.root());
    let cache = find(session, repository.as_ref()).cache.filter(|cache| cache.dir().is_dir());
    let Some(cache) = cache.filter(|_| standings.values().any(due)) else { return BTreeSet::new() };
    let mut is_there = |index: &TaskIndex| {
        let assignment = engine.assignment(*index);
        assignment.is_ok_and(|assignment| would_be_restored(&cache, &session.workspace, &assignment))
    };
    let due = standings.iter().filter(|(_, standing)| due(standing)).map(|(index, _)| *index);
    due.filter(|index| is_there(index)).collect()
}

/// Who makes results in this run.
pub(super) fn maker(caller: &Caller, repository: Option<&Repository>) -> Maker {
    let user = caller.text("USER").or_else(|| caller.text("LOGNAME")).unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Maker {
        user,
        host: host.trim().to_owned(),
        conductor: env!("CARGO_PKG_VERSION").to_owned(),
        at: super::build::now(),
        commit: repository.and_then(Repository::head_commit),
        ..Maker::default()
    }
}

fn dir(session: &Session, repository: Option<&Repository>) -> PathBuf {
    if let Some(dir) = session.caller.0.get(OsStr::new("CONDUCTOR_CACHE_DIR")).filter(|dir| !dir.is_empty()) {
        return session.start.join(dir);
    }
    if let Some(dir) = &session.plan.settings().cache_dir {
        return session.workspace.root().join(dir);
    }
    match repository {
        Some(repository) => repository.common_dir().join("conductor/cache"),
        None => session.folder.join("cache"),
    }
}

/// May results be read, may they be written, and why not.
fn policies(session: &Session) -> (bool, bool, Option<String>) {
    let (read, write) = &session.plan.settings().cache_policy;
    let reads = read.as_deref() != Some("off");
    match write.as_deref() {
        Some("off") => (reads, false, Some("the manifest says `cache.write: off`".to_owned())),
        Some("all") => (reads, true, None),
        _ => {
            let untrusted = untrusted_ref(&|name| session.caller.text(name));
            (reads, untrusted.is_none(), untrusted)
        }
    }
}

/// Why CI says that what it builds comes from somebody who may not write to this repository.
fn untrusted_ref(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty() && value != "false");
    let differ = |head: &str, base: &str| {
        let (head, base) = (set(head)?, set(base)?);
        (head != base).then_some(head)
    };
    let event = set("GITHUB_EVENT_NAME").filter(|event| event.starts_with("pull_request"));
    if let Some(event) = event
        && !is_from_the_repository(&set)
    {
        return Some(format!("GitHub says that this is a {event} which may come from a fork"));
    }
    if let Some(head) = differ("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "CI_MERGE_REQUEST_PROJECT_PATH") {
        return Some(format!("GitLab says that this merge request comes from {head}"));
    }
    if let Some(head) = differ("BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_REPO") {
        return Some(format!("Buildkite says that this pull request comes from {head}"));
    }
    set("CIRCLE_PR_USERNAME").map(|user| format!("CircleCI says that this comes from a fork of {user}"))
}

/// Does the branch of GitHub's pull request lie in the repository itself? What cannot be read does not say so.
fn is_from_the_repository(set: &dyn Fn(&str) -> Option<String>) -> bool {
    let event = set("GITHUB_EVENT_PATH").and_then(|path| std::fs::read(path).ok());
    let event: Option<serde_json::Value> = event.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let head = event.as_ref().map(|event| &event["pull_request"]["head"]["repo"]["full_name"]);
    head.and_then(serde_json::Value::as_str)
        .zip(set("GITHUB_REPOSITORY"))
        .is_some_and(|(head, own)| head == own)
}

fn keys(session: &Session) -> Result<Keys, String> {
    let content = |name: &str| -> Result<Option<String>, String> {
        if let Some(value) = session.caller.text(name).filter(|value| !value.is_empty()) {
            return Ok(Some(value));
        }
        let file = format!("{name}_FILE");
        let Some(path) = session.caller.0.get(OsStr::new(&file)).filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let path = session.start.join(path);
        let text = std::fs::read_to_string(&path);
        text.map(Some)
            .map_err(|error| format!("{file} names {}, which cannot be read: {error}", path.display()))
    };
    let signing = content("CONDUCTOR_CACHE_KEY")?;
    let trusted = content("CONDUCTOR_CACHE_TRUST")?;
    let lines = trusted.as_deref().unwrap_or_default().lines();
    let words = lines.map(|line| line.split('#').next().unwrap_or_default());
    let words = words.flat_map(|line| line.split([' ', '\t', ',']).filter(|word| !word.is_empty()));
    let words: Vec<String> = words.map(str::to_owned).collect();
    let signed = session.plan.settings().cache_policy.0.as_deref() == Some("signed");
    let required = signed || trusted.is_some();
    Keys::new(signing.as_deref().map(str::trim), &words, required)
        .map_err(|error| format!("CONDUCTOR_CACHE_KEY or CONDUCTOR_CACHE_TRUST is wrong: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], untrusted: bool) {
        let variable = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(untrusted_ref(&variable).is_some(), untrusted, "{variables:?}");
    }

    #[test]
    fn a_ref_of_somebody_else_is_untrusted() {
        check(&[], false);
        check(&[("GITHUB_EVENT_NAME", "push")], false);
        check(&[("GITHUB_EVENT_NAME", "pull_request")], true);
        check(&[("GITHUB_EVENT_NAME", "pull_request_target")], true);
        let folder = tempfile::tempdir().unwrap();
        let event = folder.path().join("event.json");
        let text = r#"{"pull_request":{"head":{"repo":{"full_name":"me/project"}}}}"#;
        std::fs::write(&event, text).unwrap();
        let event = event.to_str().unwrap();
        let pull = [("GITHUB_EVENT_NAME", "pull_request"), ("GITHUB_EVENT_PATH", event)];
        check(&[&pull[..], &[("GITHUB_REPOSITORY", "me/project")]].concat(), false);
        check(&[&pull[..], &[("GITHUB_REPOSITORY", "you/project")]].concat(), true);
        let gitlab = [("CI_MERGE_REQUEST_PROJECT_PATH", "me/project")];
        let from = |source| [&gitlab[..], &[("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", source)]].concat();
        check(&from("me/project"), false);
        check(&from("you/project"), true);
        check(&[("BUILDKITE_PULL_REQUEST_REPO", ""), ("BUILDKITE_REPO", "a")], false);
        check(&[("BUILDKITE_PULL_REQUEST_REPO", "b"), ("BUILDKITE_REPO", "a")], true);
        check(&[("CIRCLE_PR_USERNAME", "you")], true);
    }
}
