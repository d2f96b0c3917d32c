//! Where the commands and checks of one attempt run: in the tree itself, or in a private folder from whose
//! root the task's paths are seen just as from the workspace's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RunContext;
use crate::process::Confinement;
use crate::workspace::Root;

/// How many entries of git's configuration the environment holds.
const COUNT: &str = "GIT_CONFIG_COUNT";

/// See the module.
pub(super) struct ExecRoot {
    /// The task's paths are below this.
    pub(super) dir: Arc<Root>,
    pub(super) private: Option<Private>,
}

/// What a place has for itself that the tree's commands share with the caller.
pub(super) struct Private {
    /// HOME
    pub(super) home: PathBuf,
    /// TMPDIR
    pub(super) tmp: PathBuf,
    /// Further variables of its commands.
    pub(super) env: Vec<(&'static str, OsString)>,
    /// What keeps its commands there, as far as this machine can.
    pub(super) confinement: Confinement,
}

impl ExecRoot {
    /// The tree itself.
    pub(super) fn tree(context: &RunContext) -> Self {
        Self { dir: context.tree.as_root(), private: None }
    }

    /// The folder that stands for the workspace's root.
    pub(super) fn root(&self) -> &Path {
        self.dir.root()
    }

    /// Puts the place's own folders into an environment, whatever the task's says: a declared HOME stays.
    pub(super) fn adapt(&self, env: &mut BTreeMap<OsString, OsString>, declared: impl Fn(&str) -> bool) {
        let Some(private) = &self.private else { return };
        for (name, folder) in [("HOME", &private.home), ("TMPDIR", &private.tmp)] {
            if !declared(name) {
                env.insert(name.into(), folder.clone().into());
            }
        }
        // git's configuration comes numbered; what the task declares of it stays.
        let count = env.get(OsStr::new(COUNT)).and_then(|count| count.to_str()?.parse::<usize>().ok());
        let declared = count.unwrap_or(0);
        for (name, value) in &private.env {
            let (name, value) = match name.strip_suffix("_0") {
                Some(name) => (format!("{name}_{declared}"), value.clone()),
                None if *name == COUNT => (COUNT.to_owned(), (declared + 1).to_string().into()),
                None => ((*name).to_owned(), value.clone()),
            };
            env.insert(name.into(), value);
        }
    }

    /// What keeps a command of this place in it.
    pub(super) fn confinement(&self) -> Option<&Confinement> {
        self.private.as_ref().map(|private| &private.confinement)
    }
}
