//! Landlock: who may write and read where.
//!
//! Landlock only allows: whatever no rule names is refused, and a rule on a folder holds for all below it. So a
//! folder is hidden by allowing everything else: along the way from the root to it, each of its siblings.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{CWD, Mode, OFlags};

use super::inside::Problem;

/// What is asked for; an older kernel enforces the part of it that it knows. ABI 9 would also refuse to
/// connect to sockets in the file system, which programs need for looking up names.
const KNOWN: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});

/// Devices that every program may write.
const DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// Where semaphores and shared memory live.
const SHARED_MEMORY: &str = "/dev/shm";

/// What `/` usually holds: allowed where it cannot be listed, that is, in a process that is confined already.
const TOP: [&str; 23] = [
    "bin", "boot", "dev", "etc", "gnu", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "nix",
    "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
];

/// See [`Confinement`](super::Confinement).
#[derive(Default, Debug)]
pub(super) struct View {
    pub(super) write: Vec<PathBuf>,
    pub(super) read: Vec<PathBuf>,
    pub(super) hide: Vec<PathBuf>,
}

/// The version of Landlock that this kernel has in force, as far as it matters here. None: it has none.
pub(super) fn version() -> Option<u8> {
    let has = |access: BitFlags<AccessFs>| {
        let mut ruleset = Ruleset::default();
        landlock::Compatible::set_compatibility(&mut ruleset, landlock::CompatLevel::HardRequirement);
        ruleset.handle_access(access).and_then(Ruleset::create).is_ok()
    };
    let versions = [(5, ABI::V5), (3, ABI::V3), (2, ABI::V2), (1, ABI::V1)];
    versions.into_iter().find(|(_, abi)| has(AccessFs::from_all(*abi))).map(|(version, _)| version)
}

/// Restricts this process, and whatever it starts, for good.
pub(super) fn restrict(view: &View, network: bool) -> Result<(), Problem> {
    let hide = view.hide.iter().map(|path| resolve("hide", path)).collect::<Result<Vec<_>, _>>()?;
    let scope = if network { Scope::Signal.into() } else { Scope::from_all(KNOWN) };
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.scope(scope)?.create()?;
    let mut rules = Rules { ruleset, hide };
    if !rules.hide.iter().any(|hide| hide == Path::new("/")) {
        rules.allow(Path::new("/"), READ)?;
    }
    rules.allow_what_every_program_needs()?;
    for path in &view.read {
        match path.canonicalize() {
            Ok(path) => rules.allow(&path, READ)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Problem::Path { action: "read", path: path.clone(), source }),
        }
    }
    for path in &view.write {
        rules.allow(&resolve("write", path)?, read_and_write())?;
    }
    let status = rules.ruleset.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced { Err(Problem::NotInForce) } else { Ok(()) }
}

/// Everything but making devices, through which root reaches any disk.
fn read_and_write() -> BitFlags<AccessFs> {
    AccessFs::from_all(KNOWN) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock})
}

fn resolve(action: &'static str, path: &Path) -> Result<PathBuf, Problem> {
    path.canonicalize().map_err(|source| Problem::Path { action, path: path.to_owned(), source })
}

struct Rules {
    ruleset: RulesetCreated,
    /// Resolved.
    hide: Vec<PathBuf>,
}

impl Rules {
    /// Allows `access` to `path` and all below it, except what is hidden there.
    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), Problem> {
        let is_above_hidden =
            |path: &Path| self.hide.iter().any(|hide| hide != path && hide.starts_with(path));
        if !is_above_hidden(path) {
            return self.rule(path, access);
        }
        for name in names(path) {
            let child = path.join(name);
            if !self.hide.contains(&child) {
                self.allow(&child, access)?;
            }
        }
        Ok(())
    }

    /// One rule. What is not there, or cannot be reached, needs none. A rule on a link means nothing, and need
    /// not: what counts is where the link leads, and that has a rule of its own or is hidden.
    fn rule(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), Problem> {
        let Ok(file) = open(path) else { return Ok(()) };
        (&mut self.ruleset).add_rule(PathBeneath::new(file, access))?;
        Ok(())
    }

    fn allow_what_every_program_needs(&mut self) -> Result<(), Problem> {
        let device = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev});
        for path in DEVICES {
            self.rule(Path::new(path), device)?;
        }
        self.rule(Path::new(SHARED_MEMORY), read_and_write())?;
        if !rustix::process::geteuid().is_root() {
            self.rule(Path::new("/proc"), READ | AccessFs::WriteFile | AccessFs::Truncate)?;
        }
        Ok(())
    }
}

/// The names in a folder; of one that may not be listed, those that are known anyway.
fn names(folder: &Path) -> Vec<OsString> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(_) if folder == Path::new("/") => TOP.iter().map(OsString::from).collect(),
        Err(_) => Vec::new(),
    }
}

/// Opens for nothing but naming it. A link itself, not what it leads to.
fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
