//! A world for one test: a temporary workspace, a hermetic environment, and the binary under test.
//!
//! Everything that a test says about a build it says through [`Run`]; nothing here sleeps to wait for
//! something: [`wait_until`] polls, with a bound so generous that only a hang reaches it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where its world does not stand")]

mod background;
mod run;
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use background::Background;
pub(crate) use run::Run;
pub(crate) use tree::{Tree, copy_tree};

/// Longer than anything here takes on a busy machine; reached only by what hangs.
const BOUND: Duration = Duration::from_secs(120);

/// A shell line that says `started` and goes on when the file `go` is there.
pub(crate) const WAIT: &str = "touch started; while [ ! -e go ]; do sleep 0.02; done";

/// A workspace with a manifest, and the environment that conductor is run in.
pub(crate) struct World {
    /// Removed with the world.
    _temporary: tempfile::TempDir,
    root: PathBuf,
    env: BTreeMap<OsString, OsString>,
}

impl World {
    /// A workspace whose `conductor.yaml` says `manifest` (its first line, the version, is added).
    pub(crate) fn new(manifest: &str) -> Self {
        let world = Self::empty();
        world.manifest(manifest);
        world
    }

    /// A folder without a manifest.
    pub(crate) fn empty() -> Self {
        let temporary = tempfile::Builder::new().prefix("conductor-test-").tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap().join("work");
        std::fs::create_dir(&root).unwrap();
        let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
        for name in ["PATH", "HOME", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                env.insert(name.into(), value);
            }
        }
        // What runs again is what nearly all tests are about; those of the cache turn it on.
        env.insert("CONDUCTOR_CACHE".into(), "off".into());
        Self { _temporary: temporary, root, env }
    }

    /// A copy of `examples/NAME`.
    pub(crate) fn example(name: &str) -> Self {
        let world = Self::empty();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        copy_tree(&examples.join(name), &world.root);
        world
    }

    /// Writes another manifest.
    pub(crate) fn manifest(&self, text: &str) -> &Self {
        self.file("conductor.yaml", format!("conductor: 1\n{text}"))
    }

    /// Sets a variable of conductor's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.set_env(name, value);
        self
    }

    /// As [`Self::env`], later.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), value.into());
    }

    /// Unsets a variable of conductor's environment.
    pub(crate) fn unset_env(&mut self, name: &str) {
        self.env.remove(std::ffi::OsStr::new(name));
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Writes a file, and the folders that lead there.
    pub(crate) fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Writes an executable file.
    pub(crate) fn program(&self, path: &str, content: &str) -> &Self {
        self.file(path, content).executable(path, true)
    }

    /// Sets or clears a file's executable bits.
    pub(crate) fn executable(&self, path: &str, executable: bool) -> &Self {
        let mode = if executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(self.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, path: &str, target: impl AsRef<Path>) -> &Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    /// Makes a folder.
    pub(crate) fn folder(&self, path: &str) -> &Self {
        std::fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    /// Removes a file or a folder with all that is in it.
    pub(crate) fn remove(&self, path: &str) -> &Self {
        let path = self.path(path);
        if path.symlink_metadata().unwrap().is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        self
    }

    /// What a file says.
    #[track_caller]
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.path(path);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Is something there, be it a link that leads nowhere?
    pub(crate) fn has(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Everything in the workspace with content and times, to be compared later.
    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.root)
    }

    /// The paths below `.conductor/conflicts/RUN`, whatever the run.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        let mut kept = Vec::new();
        let runs = std::fs::read_dir(self.path(".conductor/conflicts"));
        for run in runs.into_iter().flatten() {
            kept.extend(Tree::of(&run.unwrap().path()).files());
        }
        kept.sort();
        kept
    }

    /// Runs `git` in the workspace, on which nothing of the user's configuration bears.
    pub(crate) fn git(&self, args: &[&str]) -> &Self {
        self.git_says(args);
        self
    }

    /// Runs `git` as [`Self::git`] does, for what it prints, without the line end.
    pub(crate) fn git_says(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=test",
                "-c",
                "user.email=test@localhost",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(args)
            .current_dir(&self.root)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The binary with its environment, to be run in the workspace.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conductor"));
        command.args(args).current_dir(&self.root).env_clear().envs(&self.env).stdin(Stdio::null());
        command
    }

    /// Runs conductor to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args), args)
    }

    /// Runs it in a folder of the workspace.
    pub(crate) fn run_in(&self, folder: &str, args: &[&str]) -> Run {
        Run::of(self.command(args).current_dir(self.path(folder)), args)
    }

    /// `build --format json`.
    pub(crate) fn build(&self, args: &[&str]) -> Run {
        self.json("build", args)
    }

    /// `check --format json`.
    pub(crate) fn check(&self, args: &[&str]) -> Run {
        self.json("check", args)
    }

    /// `why --format json`.
    pub(crate) fn why(&self, task: &str) -> Run {
        self.json("why", &[task])
    }

    /// Any command with `--format json`.
    pub(crate) fn json(&self, command: &str, args: &[&str]) -> Run {
        self.run(&[&[command, "--format", "json"], args].concat())
    }

    /// Starts `build --format json` and comes back at once.
    pub(crate) fn start(&self, args: &[&str]) -> Background {
        self.spawn(&[&["build", "--format", "json"], args].concat())
    }

    /// Starts conductor and comes back at once.
    pub(crate) fn spawn(&self, args: &[&str]) -> Background {
        Background::start(self.command(args), args)
    }

    /// Waits for a file to appear.
    #[track_caller]
    pub(crate) fn wait_for(&self, path: &str) -> &Self {
        wait_until(&format!("{path} appears"), || self.has(path));
        self
    }
}

/// Polls until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < BOUND, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does the process with this id exist, and is it more than a zombie?
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}
