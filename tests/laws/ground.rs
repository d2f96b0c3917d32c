//! The ground that laws stand on: a folder with a workspace in it, and the binary. Knows nothing of graphs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A temporary workspace.
pub(crate) struct Ground {
    folder: tempfile::TempDir,
    /// Results come from its cache.
    cached: bool,
}

/// How a command line ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

/// What `build --format json` says of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// fresh, ran, failed, …
    pub(crate) status: String,
    /// Its checks alone ran.
    pub(crate) validated: bool,
    /// The action's key.
    pub(crate) key: Option<String>,
    /// How many reasons there were.
    pub(crate) reasons: Vec<String>,
    /// Path → digest.
    pub(crate) outputs: BTreeMap<String, String>,
}

/// A build with its JSON document.
#[derive(Debug)]
pub(crate) struct Built {
    /// How it ended.
    pub(crate) ran: Ran,
    /// By task id.
    pub(crate) tasks: BTreeMap<String, Told>,
}

/// Something in a tree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Thing {
    /// Content and executable bit.
    File(Vec<u8>, bool),
    /// Text.
    Link(PathBuf),
    /// A folder with nothing in it.
    EmptyFolder,
}

/// The binary under test.
pub(crate) fn conductor(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conductor"));
    command.current_dir(root).stdin(Stdio::null()).env_remove("CONDUCTOR_RUN").env_remove("CONDUCTOR_TASK");
    // What runs again is what nearly all laws are about; those of the cache turn it on.
    command.env("CONDUCTOR_CACHE", "off");
    command
}

impl Ran {
    /// From the standard library's form.
    pub(crate) fn from_output(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All that it printed, to search in.
    pub(crate) fn text(&self) -> String {
        format!("exit {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }

    /// No panic ever reaches a user.
    pub(crate) fn assert_no_panic(&self) {
        assert!(!self.text().contains("panicked") && self.code != Some(101), "a panic: {}", self.text());
    }
}

impl Built {
    /// Reads the document; a build that printed none has no tasks.
    pub(crate) fn new(ran: Ran) -> Self {
        let document: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let tasks = document["tasks"].as_object().into_iter().flatten().map(|(id, task)| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let outputs = task["outputs"].as_object().into_iter().flatten();
            let told = Told {
                status: text(&task["status"]),
                validated: task["validated"].as_bool().unwrap_or(false),
                key: task["key"].as_str().map(str::to_owned),
                reasons: task["reasons"].as_array().into_iter().flatten().map(|r| text(&r["kind"])).collect(),
                outputs: outputs.map(|(path, digest)| (path.clone(), text(digest))).collect(),
            };
            (id.clone(), told)
        });
        Self { tasks: tasks.collect(), ran }
    }

    /// The ids of the tasks for which `what` holds.
    pub(crate) fn those(&self, what: impl Fn(&Told) -> bool) -> Vec<String> {
        self.tasks.iter().filter(|(_, told)| what(told)).map(|(id, _)| id.clone()).collect()
    }

    /// The tasks whose command ran to success.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.those(|told| told.status == "ran")
    }

    /// The tasks whose result came from the cache.
    pub(crate) fn restored(&self) -> Vec<String> {
        self.those(|told| told.status == "cached")
    }

    /// The tasks of which only the checks ran.
    pub(crate) fn validated(&self) -> Vec<String> {
        self.those(|told| told.validated)
    }
}

impl Ground {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("laws-").tempdir().unwrap(), cached: false }
    }

    /// The same with its cache on.
    pub(crate) fn cached(self) -> Self {
        Self { cached: true, ..self }
    }

    /// The binary, to be run in it.
    pub(crate) fn conductor(&self) -> Command {
        let mut command = conductor(self.root());
        if self.cached {
            command.env("CONDUCTOR_CACHE", "rw");
        }
        command
    }

    /// A workspace with this manifest, and these files.
    pub(crate) fn with(manifest: &str, files: &[(&str, &str)]) -> Self {
        let ground = Self::new();
        ground.write("conductor.yaml", manifest);
        for (path, content) in files {
            ground.write(path, content);
        }
        ground
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file, making its folders.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads a file.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Runs a command line.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::from_output(&self.conductor().args(args).output().unwrap())
    }

    /// Builds, and reads the document.
    pub(crate) fn build(&self, args: &[&str]) -> Built {
        let args: Vec<&str> = ["build", "--format", "json"].iter().chain(args).copied().collect();
        Built::new(self.run(&args))
    }

    /// Starts a build in a process group of its own and does not wait for it.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        use std::os::unix::process::CommandExt as _;
        self.conductor()
            .arg("build")
            .args(args)
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The build ends well, and the one after it runs nothing. Returns the first.
    pub(crate) fn heals(&self, when: &str) -> Built {
        let built = self.build(&["-j2"]);
        built.ran.assert_no_panic();
        assert_eq!(built.ran.code, Some(0), "the build {when}: {}", built.ran.text());
        let again = self.build(&["-j2"]);
        assert_eq!(again.ran.code, Some(0), "the second build {when}: {}", again.ran.text());
        let due = [again.ran(), again.restored(), again.validated()].concat();
        assert!(due.is_empty(), "the second build {when} ran {due:?}: {}", again.ran.text());
        built
    }
}

/// Everything at and below `root` but conductor's own folder.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Thing> {
    let mut found = BTreeMap::new();
    collect(root, root, &mut found);
    found.retain(|path, _| path != ".conductor" && !path.starts_with(".conductor/"));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Thing>) {
    let mut empty = true;
    for entry in fs::read_dir(folder).unwrap() {
        empty = false;
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_symlink() {
            found.insert(name, Thing::Link(fs::read_link(&path).unwrap()));
        } else if metadata.is_dir() {
            collect(root, &path, found);
        } else if metadata.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            found.insert(name, Thing::File(fs::read(&path).unwrap(), executable));
        }
    }
    if empty && folder != root {
        found.insert(folder.strip_prefix(root).unwrap().display().to_string(), Thing::EmptyFolder);
    }
}

/// A fingerprint of everything below `root`, conductor's folder included, that any write would change.
pub(crate) fn imprint(root: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64, u32)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let (mtime, ctime) =
                (metadata.mtime_nsec(), metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec());
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (metadata.len(), mtime, ctime, metadata.ino(), metadata.mode()));
        }
    }
    found
}
