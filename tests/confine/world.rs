//! The world of these tests: a workspace that is hidden, in it a folder that may be written, and beside it a
//! folder of somebody else's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use conductor::process::confine::{Files, Network, Support};
use conductor::process::{Confinement, End, Ended, Processes, SpawnError, Spec, Stdin};

/// The conductor whose second start confines.
pub(crate) fn conductor() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_conductor"))
}

/// Each means that this machine has, one by one. Those that it has not are told.
pub(crate) fn all_means() -> Vec<Support> {
    static FOUND: OnceLock<Vec<Support>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let own = Support::with_helper(conductor());
            let bwrap = conductor::process::find_program("bwrap".as_ref(), None, Path::new("/"));
            let mut means = Vec::new();
            if matches!(own.files, Files::Landlock { version: 3.. }) && own.network == Network::Namespace {
                if bwrap.is_some() {
                    // As for a user who may make no namespace himself.
                    let network = Network::Bubblewrap;
                    means.push(Support { network, bubblewrap: bwrap.clone(), ..own.clone() });
                }
                means.push(own);
            } else {
                eprintln!("SKIPPED: this machine has no Landlock or no network namespace for us ({own:?})");
            }
            match bwrap {
                Some(bwrap) => means.push(by_bubblewrap(bwrap)),
                None => eprintln!("SKIPPED: `bwrap` is not installed; confinement by it is not tested"),
            }
            means
        })
        .clone()
}

fn by_bubblewrap(bwrap: PathBuf) -> Support {
    Support {
        files: Files::Bubblewrap,
        network: Network::Bubblewrap,
        helper: conductor().to_owned(),
        bubblewrap: Some(bwrap),
    }
}

/// Is it Landlock that confines here?
pub(crate) fn is_landlock(support: &Support) -> bool {
    matches!(support.files, Files::Landlock { .. })
}

/// Is the program there? Where it is not, that is told.
pub(crate) fn has(program: &str) -> bool {
    let found = conductor::process::find_program(program.as_ref(), None, Path::new("/")).is_some();
    if !found {
        eprintln!("SKIPPED: there is no `{program}`");
    }
    found
}

/// Is the kernel this one or a later one?
pub(crate) fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let is = (numbers.next(), numbers.next()) >= (Some(major), Some(minor));
    if !is {
        eprintln!("SKIPPED: this kernel is older than {major}.{minor}");
    }
    is
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) confinement: Confinement,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) processes: Processes,
}

impl World {
    pub(crate) fn new(support: &Support) -> Self {
        let folder = tempfile::Builder::new().prefix("confine-").tempdir().unwrap();
        let root = folder.path().join("root");
        for folder in ["root/.conductor/workspaces/T1", "root/src", "root/docs", "beside", "tmp"] {
            fs::create_dir_all(folder_of(&root).join(folder)).unwrap();
        }
        for (file, text) in
            [("root/src/secret", "secret\n"), ("root/docs/open", "open\n"), ("beside/file", "beside\n")]
        {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let run = folder.path().to_str().unwrap();
        let tmp = folder.path().join("tmp");
        let env = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", tmp.to_str().unwrap()),
            ("TMPDIR", tmp.to_str().unwrap()),
            ("CONDUCTOR_TASK", "T1"),
            ("CONDUCTOR_RUN", run),
        ];
        let confinement = Confinement {
            write: vec![root.join(".conductor/workspaces/T1"), tmp.clone()],
            read: vec![root.join("docs")],
            hide: vec![root],
            network: true,
            support: support.clone(),
        };
        let env = env.map(|(name, value)| (name.into(), value.into())).to_vec();
        Self { folder, confinement, env, timeout: None, processes: Processes::new() }
    }

    /// What holds everything.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that may be written, in which everything runs.
    pub(crate) fn inside(&self) -> PathBuf {
        self.path().join("root/.conductor/workspaces/T1")
    }

    pub(crate) fn run(&self, argv: &[OsString]) -> Result<(Ended, String), SpawnError> {
        let dir = self.inside();
        let mut output = String::new();
        let ended = self.processes.run(Spec {
            argv: argv.to_vec(),
            dir: &dir,
            env: self.env.clone(),
            stdin: Stdin::Bytes(b"stdin\n"),
            timeout: self.timeout,
            stall: None,
            grace: Duration::from_secs(10),
            log: &self.path().join("log"),
            secrets: &[],
            owner: "T1",
            progress: None,
            confinement: Some(&self.confinement),
            on_line: &mut |line| {
                output.push_str(&String::from_utf8_lossy(line));
                output.push('\n');
            },
        })?;
        Ok((ended, output))
    }

    /// Runs a script; `$W` is the world's folder.
    pub(crate) fn sh(&self, script: &str) -> (End, String) {
        let script = format!("W='{}'\n{script}", self.path().display());
        let (ended, output) = self.run(&["/bin/sh", "-eu", "-c", &script].map(Into::into)).unwrap();
        (ended.end, output)
    }

    /// The script does all that it says.
    #[track_caller]
    pub(crate) fn allows(&self, script: &str) {
        let (end, output) = self.sh(script);
        assert_eq!(end, End::Exited(0), "{:?}: {script}\n{output}", self.confinement.support);
    }

    /// The command of the script is refused, and for no other reason.
    #[track_caller]
    pub(crate) fn refuses(&self, script: &str) {
        let (end, output) = self.sh(script);
        assert!(matches!(end, End::Exited(code) if code > 0), "{end:?}: {script}\n{output}");
        let refusals = [
            "Permission denied",
            "Read-only file system",
            "Operation not permitted",
            "Invalid cross-device link",
            "No such file or directory",
            "Device or resource busy",
            "Directory nonexistent",
            "can't cd",
            "Network is unreachable",
            "Connection refused",
        ];
        assert!(refusals.iter().any(|refusal| output.contains(refusal)), "{script}\n{output}");
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap()
}
