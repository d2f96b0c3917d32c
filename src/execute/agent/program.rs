//! An agent's program as it lies there: where it is, which version it is, and what it could log in with. A run of a task
//! asks the same questions in the same way as a person who wants to know beforehand.
//!
//! It starts the program for its version and its login alone, never for work.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::home::HomeFolder;
use crate::agent::{self, Values};
use crate::execute::environment::basics;
use crate::incremental::Caller;
use crate::model::Adapter;
use crate::process::{self, Confinement, End, Processes, Spec, Stdin};

/// Handed through from the caller beside what every task gets: without them terminals, times and certificates are
/// not what the person's own runs of the program have.
const BASICS: [&str; 4] = ["LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands through what the adapter needs of the caller's, but for what is `declared` already.
pub(super) fn hand_through(
    adapter: &Adapter,
    caller: &Caller,
    env: &mut BTreeMap<OsString, OsString>,
    declared: impl Fn(&str) -> bool,
) {
    let through = adapter.pass_env.iter().chain(&adapter.secrets).map(String::as_str);
    for name in BASICS.into_iter().chain(through).filter(|name| !declared(name)) {
        if let Some(value) = caller.0.get(OsStr::new(name)) {
            env.insert(name.into(), value.clone());
        }
    }
}

/// Where the program is, or what to do about it. `root` is the workspace's: a path is the manifest's, wherever a task runs.
pub(super) fn find(
    adapter: &Adapter,
    env: &BTreeMap<OsString, OsString>,
    root: &Path,
) -> Result<PathBuf, String> {
    let bin = &adapter.bin;
    let name = if bin.contains('/') { root.join(bin) } else { bin.into() };
    let path = env.get(OsStr::new("PATH")).map(OsString::as_os_str);
    process::find_program(name.as_os_str(), path, root).ok_or_else(|| {
        let help = adapter.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        format!("cannot find the program `{bin}` of the agent {}{help}", adapter.name)
    })
}

/// What is wrong with the version, where one is required.
pub(super) fn wrong_version(adapter: &Adapter, version: Option<&str>) -> Option<String> {
    let wanted = adapter.require.as_deref()?;
    if version.is_some_and(|version| agent::is_version(version, wanted)) {
        return None;
    }
    let found = version.unwrap_or("none that it tells");
    Some(format!("the agent {} is to have version {wanted} (`require`), but has {found}", adapter.name))
}

/// A question that a program answers by what it prints and by its exit code.
pub(super) struct Question<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [String],
    pub(super) dir: &'a Path,
    pub(super) env: &'a BTreeMap<OsString, OsString>,
    pub(super) secrets: &'a [Vec<u8>],
    pub(super) owner: &'a str,
    pub(super) confinement: Option<&'a Confinement>,
}

impl Question<'_> {
    /// Did it succeed, and which lines did it print?
    fn ask(&self, processes: &Processes) -> (bool, Vec<String>) {
        let mut said = Vec::new();
        let mut on_line = |line: &[u8]| said.push(String::from_utf8_lossy(line).trim().to_owned());
        let argv = std::iter::once(self.program.as_os_str().to_owned());
        let ended = processes.run(Spec {
            argv: argv.chain(self.arguments.iter().map(OsString::from)).collect(),
            dir: self.dir,
            env: self.env.clone().into_iter().collect(),
            stdin: Stdin::Null,
            timeout: Some(PATIENCE),
            stall: None,
            grace: Duration::from_secs(1),
            log: Path::new("/dev/null"),
            secrets: self.secrets,
            owner: self.owner,
            progress: None,
            confinement: self.confinement,
            on_line: &mut on_line,
        });
        (ended.is_ok_and(|ended| ended.end == End::Exited(0)), said)
    }

    /// What it says is its version: the first line that has a number in it, else the first.
    pub(super) fn version(&self, processes: &Processes) -> Option<String> {
        if self.arguments.is_empty() {
            return None;
        }
        let (succeeded, said) = self.ask(processes);
        let lines = || said.iter().filter(|line| !line.is_empty());
        let numbered = |line: &&String| line.split_whitespace().any(is_number_of_version);
        lines().find(numbered).or_else(|| lines().next()).filter(|_| succeeded).cloned()
    }
}

/// `0.169.0`, `v2.1`, `aider/0.86.2`
fn is_number_of_version(word: &str) -> bool {
    let mut parts = word.split('.');
    let first = parts.next().is_some_and(|part| part.ends_with(|c: char| c.is_ascii_digit()));
    first && parts.next().is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()))
}

/// What an agent could log in with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Login {
    /// These variables hold keys. Whether they are right only the provider knows.
    Keys(Vec<String>),
    /// The program itself says that it is logged in; the command that was asked.
    Told(String),
    /// These files of the person's HOME are there.
    Files(Vec<String>),
    /// Its adapter names neither keys nor logins.
    Unneeded,
    /// Nothing.
    Missing,
}

/// What a person wants to know of an agent before it works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Examined {
    /// The adapter's name.
    pub agent: String,
    /// The program.
    pub program: Option<PathBuf>,
    /// What the program says is its version.
    pub version: Option<String>,
    /// What it could log in with; none where there is no program to log in.
    pub login: Option<Login>,
    /// What keeps it from working.
    pub problems: Vec<String>,
}

/// Looks at an agent's program. The workspace is at `root`; nothing is written there.
pub fn examine(adapter: &Adapter, root: &Path, caller: &Caller) -> io::Result<Examined> {
    let mut found = Examined {
        agent: adapter.name.clone(),
        program: None,
        version: None,
        login: None,
        problems: Vec::new(),
    };
    // A HOME like that of a run, with the same links: what a login leaves elsewhere does not count.
    let scratch = tempfile::Builder::new().prefix("conductor-doctor-").tempdir()?;
    let mut values = Values {
        bin: adapter.bin.clone(),
        model: adapter.model.clone().unwrap_or_default(),
        ..Values::default()
    };
    let home =
        HomeFolder::prepare(adapter, scratch.path(), caller, |template| agent::fill(template, &values))?;
    values.home = home.path.to_string_lossy().into_owned();
    let mut env = basics(caller);
    env.insert("HOME".into(), home.path.clone().into());
    hand_through(adapter, caller, &mut env, |_| false);
    for (name, value) in &adapter.env {
        let value = agent::fill(value, &values);
        if !value.is_empty() {
            env.insert(name.into(), value.into());
        }
    }
    match find(adapter, &env, root) {
        Ok(program) => {
            let secrets: Vec<Vec<u8>> = adapter
                .secrets
                .iter()
                .filter_map(|name| Some(caller.text(name)?.into_bytes()))
                .filter(|value| !value.is_empty())
                .collect();
            let processes = Processes::new();
            let question = |arguments| Question {
                program: &program,
                arguments,
                dir: root,
                env: &env,
                secrets: &secrets,
                owner: &adapter.name,
                confinement: None,
            };
            found.version = question(&adapter.version).version(&processes);
            found.problems.extend(wrong_version(adapter, found.version.as_deref()));
            let login = login(adapter, &env, caller, || question(&adapter.check_login).ask(&processes));
            if login == Login::Missing {
                let help = adapter.help.as_deref().unwrap_or("log in with it once, or set its key");
                found.problems.push(format!("the agent {} is not logged in; {help}", adapter.name));
            }
            found.login = Some(login);
            found.program = Some(program);
        }
        Err(problem) => found.problems.push(problem),
    }
    home.give_back();
    Ok(found)
}

fn login(
    adapter: &Adapter,
    env: &BTreeMap<OsString, OsString>,
    caller: &Caller,
    ask: impl FnOnce() -> (bool, Vec<String>),
) -> Login {
    let is_set = |name: &&String| env.get(OsStr::new(name.as_str())).is_some_and(|value| !value.is_empty());
    let keys: Vec<String> = adapter.secrets.iter().filter(is_set).cloned().collect();
    if !keys.is_empty() {
        return Login::Keys(keys);
    }
    if !adapter.check_login.is_empty() {
        return match ask() {
            (true, _) => Login::Told(format!("{} {}", adapter.bin, adapter.check_login.join(" "))),
            (false, _) => Login::Missing,
        };
    }
    if adapter.login.is_empty() && adapter.secrets.is_empty() {
        return Login::Unneeded;
    }
    let home = caller.text("HOME").map(PathBuf::from).unwrap_or_default();
    let files: Vec<String> = adapter.login.iter().filter(|name| home.join(name).exists()).cloned().collect();
    if files.is_empty() { Login::Missing } else { Login::Files(files) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A workspace with the program `tool.sh`, and a person's HOME.
    fn world(script: &str) -> (tempfile::TempDir, Caller) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("home/.tool")).unwrap();
        let program = dir.path().join("tool.sh");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let home = dir.path().join("home");
        let caller =
            Caller([("HOME".into(), home.into()), ("PATH".into(), std::env::var_os("PATH").unwrap())].into());
        (dir, caller)
    }

    fn adapter() -> Adapter {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        Adapter {
            name: "tool".to_owned(),
            bin: "./tool.sh".to_owned(),
            version: words(&["--version"]),
            secrets: words(&["TOOL_KEY"]),
            login: words(&[".tool/auth.json"]),
            help: Some("run `tool login`".to_owned()),
            ..Adapter::default()
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_what_to_do() {
        let (dir, caller) = world("true");
        let adapter = Adapter { bin: "no-such-program-here".to_owned(), ..adapter() };
        let found = examine(&adapter, dir.path(), &caller).unwrap();
        assert_eq!((found.program, found.login), (None, None));
        let problem = "cannot find the program `no-such-program-here` of the agent tool; run `tool login`";
        assert_eq!(found.problems, [problem]);
    }

    #[test]
    fn a_login_is_looked_for_among_keys_and_files() {
        let (dir, mut caller) = world("echo WARNING: something; echo tool 1.2.3");
        let found = examine(&adapter(), dir.path(), &caller).unwrap();
        assert_eq!(found.version.as_deref(), Some("tool 1.2.3"));
        assert_eq!(found.login, Some(Login::Missing));
        assert_eq!(found.problems, ["the agent tool is not logged in; run `tool login`"]);
        fs::write(dir.path().join("home/.tool/auth.json"), "{}").unwrap();
        let found = examine(&adapter(), dir.path(), &caller).unwrap();
        assert_eq!(found.login, Some(Login::Files(vec![".tool/auth.json".to_owned()])));
        assert_eq!(found.problems, [""; 0]);
        caller.0.insert("TOOL_KEY".into(), "k".into());
        let found = examine(&adapter(), dir.path(), &caller).unwrap();
        assert_eq!(found.login, Some(Login::Keys(vec!["TOOL_KEY".to_owned()])));
    }

    #[test]
    fn a_program_that_can_say_whether_it_is_logged_in_is_asked_in_a_home_like_that_of_a_run() {
        let (dir, caller) = world(r#"test "$1" = --version || test -e "$HOME/.tool/auth.json""#);
        let adapter = Adapter { check_login: vec!["status".to_owned()], ..adapter() };
        let login = |found: Examined| found.login.unwrap();
        assert_eq!(login(examine(&adapter, dir.path(), &caller).unwrap()), Login::Missing);
        fs::write(dir.path().join("home/.tool/auth.json"), "{}").unwrap();
        let told = Login::Told("./tool.sh status".to_owned());
        assert_eq!(login(examine(&adapter, dir.path(), &caller).unwrap()), told);
        assert_eq!(fs::read_dir(dir.path().join("home/.tool")).unwrap().count(), 1, "nothing is left there");
    }

    #[test]
    fn a_version_that_is_required_is_held_against_the_one_that_is_there() {
        let (dir, caller) = world("echo tool 1.2.3");
        let check = |require: &str, problems: usize| {
            let adapter = Adapter {
                require: Some(require.to_owned()),
                secrets: Vec::new(),
                login: Vec::new(),
                ..adapter()
            };
            let found = examine(&adapter, dir.path(), &caller).unwrap();
            assert_eq!(found.problems.len(), problems, "{:?}", found.problems);
            assert_eq!(found.login, Some(Login::Unneeded));
        };
        check("1.2", 0);
        check("1.3", 1);
    }
}
