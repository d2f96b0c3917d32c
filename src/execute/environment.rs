//! A task's environment: an allow-list of the caller's basics, then what the manifest declares.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::incremental::Caller;
use crate::model::{EnvValue, RunId, Task};

/// Handed through from the caller where set; none of them is part of a key.
const BASICS: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR"];

/// What every program gets, whatever the manifest says.
pub(super) fn basics(caller: &Caller) -> BTreeMap<OsString, OsString> {
    let through =
        BASICS.iter().filter_map(|name| Some((name.into(), caller.0.get(OsStr::new(name))?.clone())));
    through.chain([(OsString::from("LANG"), OsString::from("C.UTF-8"))]).collect()
}

/// The whole environment of a task's commands and checks. The caller has made sure that secrets are set.
pub(super) fn environment(task: &Task, caller: &Caller, run: &RunId) -> BTreeMap<OsString, OsString> {
    let mut env = basics(caller);
    for name in task.pass_env.iter().chain(&task.secrets) {
        if let Some(value) = caller.0.get(OsStr::new(name)) {
            env.insert(name.into(), value.clone());
        }
    }
    for variable in &task.env {
        let value = match &variable.value {
            EnvValue::Literal(value) => Some(OsString::from(value)),
            EnvValue::Caller => caller.0.get(OsStr::new(&variable.name)).cloned(),
        };
        if let Some(value) = value {
            env.insert(OsString::from(&variable.name), value);
        }
    }
    env.insert("CONDUCTOR_TASK".into(), task.id.as_str().into());
    env.insert("CONDUCTOR_RUN".into(), run.0.clone().into());
    env
}
