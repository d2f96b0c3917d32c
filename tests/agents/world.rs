//! A workspace whose agents are fake ones: under the names of the real programs on PATH, with a script in HOME that
//! says what they do, and a log of what they were told.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Run, World};

/// The adapters that conductor brings along, by their programs.
pub(crate) const PROGRAMS: [&str; 9] =
    ["claude", "codex", "gemini", "opencode", "pi", "copilot", "qwen", "aider", "command"];

/// The program of the adapter `command`, which has none of its own.
const ANY: &str = "any-agent";

/// The agent that plays a script; `cargo test` builds it with all examples.
pub(crate) fn fake_agent() -> PathBuf {
    let conductor = Path::new(env!("CARGO_BIN_EXE_conductor"));
    let path = conductor.parent().unwrap().join("examples/fake_agent");
    assert!(path.is_file(), "{} is not there: cargo build --example fake_agent", path.display());
    path
}

/// See the module.
pub(crate) struct Agents {
    pub(crate) world: World,
    pub(crate) home: PathBuf,
}

impl Agents {
    /// A committed workspace with this manifest. `in.txt` is there.
    pub(crate) fn new(manifest: &str) -> Self {
        Self::with(&[], manifest)
    }

    /// As [`Self::new`]; an adapter's name comes with further keys of it, as a YAML map without braces.
    pub(crate) fn with(keys: &[(&str, &str)], manifest: &str) -> Self {
        let world = World::empty();
        let outside = world.root().parent().unwrap().to_owned();
        let (home, bin) = (outside.join("home"), outside.join("bin"));
        std::fs::create_dir_all(home.join(".fake_agent")).unwrap();
        std::fs::create_dir_all(&bin).unwrap();
        for program in PROGRAMS.into_iter().filter(|program| *program != "command").chain([ANY]) {
            std::os::unix::fs::symlink(fake_agent(), bin.join(program)).unwrap();
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let world = world.env("HOME", home.to_str().unwrap()).env("PATH", &path);
        let agents = Self { world, home };
        agents.manifest(keys, manifest);
        agents.world.file("in.txt", "the input\n").file(".gitignore", ".conductor/\n");
        agents.world.git(&["init", "-q"]).git(&["add", "-A"]).git(&["commit", "-q", "-m", "first"]);
        agents
    }

    /// Writes another manifest.
    pub(crate) fn manifest(&self, keys: &[(&str, &str)], manifest: &str) {
        let adapter = |program: &str| {
            let own = keys.iter().filter(|(name, _)| *name == program).map(|(_, keys)| format!(", {keys}"));
            let bin = if program == "command" { ANY } else { program };
            format!(
                "  {program}: {{ bin: {bin}, login: [.fake_agent], grace: 1s{} }}\n",
                own.collect::<String>()
            )
        };
        let text = format!("agents:\n{}", PROGRAMS.map(adapter).concat());
        self.world.manifest(&(text + manifest));
    }

    /// What the agents do from now on; they have forgotten how often they were called.
    #[expect(clippy::needless_pass_by_value, reason = "it is written where it is needed")]
    pub(crate) fn script(&self, script: Value) -> &Self {
        std::fs::write(self.folder().join("script.json"), script.to_string()).unwrap();
        let _ = std::fs::remove_file(self.folder().join("log.jsonl"));
        self
    }

    /// Where script and log lie.
    pub(crate) fn folder(&self) -> PathBuf {
        self.home.join(".fake_agent")
    }

    /// The caller's HOME.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    fn log(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder().join("log.jsonl")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What agents were told for this task since the script was written.
    pub(crate) fn calls(&self, task: &str) -> Vec<Value> {
        self.log().into_iter().filter(|entry| entry["task"] == task && entry["argv"].is_array()).collect()
    }

    /// Nobody was called since the script was written.
    #[track_caller]
    pub(crate) fn nobody_was_called(&self) -> &Self {
        let log = self.log();
        assert!(log.is_empty(), "{log:#?}");
        self
    }

    /// What an agent could not do of what its script says.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.log();
        log.iter().filter_map(|entry| entry["error"].as_str()).map(str::to_owned).collect()
    }

    /// Processes that agents left behind.
    pub(crate) fn left(&self) -> Vec<String> {
        self.log().iter().filter_map(|entry| entry["left"].as_u64()).map(|pid| pid.to_string()).collect()
    }

    /// `build --format json` of these targets.
    pub(crate) fn build(&self, targets: &[&str]) -> Run {
        self.world.build(targets)
    }

    /// The runs of a task's agent in the last build that had any.
    #[track_caller]
    pub(crate) fn runs(&self, task: &str) -> Vec<Value> {
        let run = self.world.json("log", &[task]);
        run.success().json()["agent"].as_array().cloned().unwrap_or_default()
    }

    /// How they ended.
    #[track_caller]
    pub(crate) fn ends(&self, task: &str) -> Vec<String> {
        self.runs(task).iter().map(|run| run["end"].as_str().unwrap().to_owned()).collect()
    }
}

/// What is said of a task in a build's document, for people.
pub(crate) fn resumed(calls: &[Value]) -> Vec<bool> {
    calls.iter().map(|call| call["resumed"].as_bool().unwrap()).collect()
}

/// The task that most tests are about: one output that must say `right`.
pub(crate) fn one_task(agent: &str, further: &str) -> String {
    format!(
        "tasks:
  T1:
    agent: {agent}
    instructions: Write the answer into out.txt.
    inputs: [in.txt]
    outputs: [out.txt]
    validate:
      - run: 'grep -q right out.txt || {{ echo \"out.txt:1: $(cat out.txt)\"; exit 3; }}'
{further}"
    )
}

/// A run of the script that writes this into `out.txt`.
pub(crate) fn writes(text: &str) -> Value {
    serde_json::json!({"do": [{"write": {"path": "out.txt", "text": text}}]})
}
