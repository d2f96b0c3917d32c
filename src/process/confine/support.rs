//! What this machine can enforce, and by which means.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::{Confinement, files};
use crate::process::{End, Processes, Spec, Stdin, find_program};

/// This program, also after somebody has replaced its file.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A second start that only tries takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// By which means writing and reading are confined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Files {
    /// By the kernel's Landlock.
    Landlock {
        /// Of its interface. 1 lets nothing be moved from folder to folder; below 3, files that may not be
        /// written can be truncated.
        version: u8,
    },
    /// By mounts that `bwrap` makes.
    Bubblewrap,
    /// Not at all.
    Nothing,
}

/// By which means a network is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// By a network namespace.
    Namespace,
    /// By one that `bwrap` makes, because this user may not.
    Bubblewrap,
    /// Not at all.
    Nothing,
}

/// What can be enforced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Support {
    /// Writing and reading.
    pub files: Files,
    /// No network.
    pub network: Network,
    /// The program whose second start confines a process: conductor.
    pub helper: PathBuf,
    /// `bwrap`, where it is installed and works.
    pub bubblewrap: Option<PathBuf>,
}

impl Support {
    /// What this process can have enforced. Tried once, then remembered.
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Support> = OnceLock::new();
        DETECTED.get_or_init(|| Self::with_helper(Path::new(THIS_PROGRAM))).clone()
    }

    /// As [`Self::detect`], where this program is not conductor (a test, say), and never remembered.
    pub fn with_helper(helper: &Path) -> Self {
        let nothing = Self { helper: helper.to_owned(), ..Self::nothing() };
        let landlock = files::version().map(|version| Files::Landlock { version });
        // Not wherever PATH leads: it is trusted with every path.
        let bubblewrap = || find_program("bwrap".as_ref(), None, Path::new("/"));
        let own = Self { network: Network::Namespace, ..nothing.clone() };
        let mut support = Self { files: landlock.unwrap_or(Files::Nothing), ..nothing.clone() };
        if own.works() {
            support.network = Network::Namespace;
        }
        let is_whole = matches!(landlock, Some(Files::Landlock { version: 3.. }));
        if is_whole && support.network == Network::Namespace {
            return support;
        }
        let wrapped = Self { files: Files::Bubblewrap, network: Network::Bubblewrap, ..nothing };
        let wrapped = Self { bubblewrap: bubblewrap(), ..wrapped };
        if wrapped.bubblewrap.is_some() && wrapped.works() {
            support.files = if is_whole { support.files } else { Files::Bubblewrap };
            if support.network == Network::Nothing || !is_whole {
                support.network = Network::Bubblewrap;
            }
            support.bubblewrap = wrapped.bubblewrap;
        }
        support
    }

    /// A machine that can enforce nothing.
    pub fn nothing() -> Self {
        Self {
            files: Files::Nothing,
            network: Network::Nothing,
            helper: THIS_PROGRAM.into(),
            bubblewrap: None,
        }
    }

    /// Can a process be confined by just these means?
    fn works(&self) -> bool {
        let confinement = Confinement {
            write: Vec::new(),
            read: Vec::new(),
            hide: Vec::new(),
            network: false,
            support: self.clone(),
        };
        let ended = Processes::new().run(Spec {
            argv: Vec::new(),
            dir: Path::new("/"),
            env: Vec::new(),
            stdin: Stdin::Null,
            timeout: Some(PATIENCE),
            stall: None,
            grace: Duration::ZERO,
            log: Path::new("/dev/null"),
            secrets: &[],
            owner: "",
            progress: None,
            confinement: Some(&confinement),
            on_line: &mut |_| {},
        });
        ended.is_ok_and(|ended| ended.end == End::Exited(0))
    }

    /// What is missing of writing and reading.
    pub(super) fn files_gap(&self) -> Option<&'static str> {
        match self.files {
            Files::Landlock { version: 3.. } | Files::Bubblewrap => None,
            Files::Landlock { .. } => Some(
                "this kernel's Landlock does not keep files outside a process's folder from being truncated: Linux \
                 6.2 does, and so does bubblewrap (`bwrap`)",
            ),
            Files::Nothing => Some(
                "nothing keeps a process from writing outside its folder or from reading what is hidden from it: \
                 this kernel has no Landlock (Linux 6.2 has it whole), and bubblewrap (`bwrap`) is not installed \
                 or does not work",
            ),
        }
    }
}

impl Network {
    /// What is missing of it.
    pub(super) fn gap(self) -> Option<&'static str> {
        (self == Self::Nothing).then_some(
            "nothing keeps a process from the network: this user may make no network namespace, and bubblewrap \
             (`bwrap`) is not installed or does not work",
        )
    }
}
