//! From a command as written to a process: filling in what was open, finding the program, running it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::RunContext;
use super::environment::environment;
use super::exec_root::ExecRoot;
use super::secrets::values;
use crate::incremental::Caller;
use crate::model::{Action, Command, Event, Piece, RunId, Task, Template, WorkspacePath};
use crate::process::{self, End, Ended, Processes, SpawnError, Spec, Stdin};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// How long a `tools` command may take to say which version it is.
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// A script above this size goes through a file: one argument above 128 KiB is refused by the kernel.
const LONGEST_ARGUMENT: usize = 100 * 1024;

/// What `${inputs}` and `${outputs}` stand for: paths as the command sees them from its folder.
pub(super) struct Paths {
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Paths {
    pub(super) fn new(task: &Task, action: &Action) -> Self {
        let declared = action.inputs.iter().filter(|input| input.is_named());
        Self {
            inputs: declared.map(|input| relative(&input.path, &task.dir)).collect(),
            outputs: task.outputs.iter().map(|output| relative(&output.path, &task.dir)).collect(),
        }
    }
}

/// `path` as seen from the folder `from`.
fn relative(path: &WorkspacePath, from: &WorkspacePath) -> Vec<u8> {
    let (path, from): (Vec<&[u8]>, Vec<&[u8]>) = (path.components().collect(), from.components().collect());
    let common = path.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(&b".."[..], from.len() - common);
    let parts: Vec<&[u8]> = up.chain(path[common..].iter().copied()).collect();
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

/// Fills a template in; `quote` for a shell.
fn fill(template: &Template, paths: &Paths, env: &BTreeMap<OsString, OsString>, quote: bool) -> Vec<u8> {
    let list = |paths: &[Vec<u8>]| {
        let quoted = paths.iter().map(|path| if quote { shell_quote(path) } else { path.clone() });
        quoted.collect::<Vec<_>>().join(&b' ')
    };
    let mut text = Vec::new();
    for piece in &template.0 {
        match piece {
            Piece::Text(part) => text.extend_from_slice(part.as_bytes()),
            Piece::Env(name) => {
                text.extend(env.get(OsStr::new(name)).map_or(&b""[..], |value| value.as_bytes()));
            }
            Piece::Inputs => text.extend(list(&paths.inputs)),
            Piece::Outputs => text.extend(list(&paths.outputs)),
        }
    }
    text
}

fn shell_quote(text: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = if text.starts_with(b"-") { [b"./", text].concat() } else { text.to_vec() };
    shlex::bytes::try_quote(&text).map(std::borrow::Cow::into_owned).unwrap_or(text)
}

/// The arguments; an element that is exactly `${inputs}` or `${outputs}` becomes several.
fn arguments(command: &Command, paths: &Paths, env: &BTreeMap<OsString, OsString>) -> Vec<Vec<u8>> {
    match command {
        Command::Shell(script) => {
            vec![b"sh".to_vec(), b"-eu".to_vec(), b"-c".to_vec(), fill(script, paths, env, true)]
        }
        Command::Argv(argv) => argv
            .iter()
            .flat_map(|element| match element.0.as_slice() {
                [Piece::Inputs] => paths.inputs.clone(),
                [Piece::Outputs] => paths.outputs.clone(),
                _ => vec![fill(element, paths, env, false)],
            })
            .collect(),
    }
}

/// A command that is about to run on behalf of a task.
pub(super) struct Call<'a> {
    pub(super) context: &'a RunContext,
    pub(super) exec_root: &'a ExecRoot,
    pub(super) task: &'a Task,
    pub(super) command: &'a Command,
    pub(super) paths: &'a Paths,
    pub(super) log: PathBuf,
    pub(super) stall: Option<Duration>,
    /// Its lines are the task's own, to be shown as such.
    pub(super) is_work: bool,
}

impl Call<'_> {
    /// Runs it to its end.
    pub(super) fn run(&self) -> Result<Ended, SpawnError> {
        let mut env = environment(self.task, &self.context.caller, &self.context.run);
        self.exec_root.adapt(&mut env, |name| self.task.env.iter().any(|variable| variable.name == name));
        let mut argv = arguments(self.command, self.paths, &env);
        if let (Command::Shell(_), Some(script)) =
            (self.command, argv.get(3).filter(|s| s.len() > LONGEST_ARGUMENT))
        {
            let file = self.log.with_extension("sh");
            write_script(&file, script)?;
            argv = vec![b"sh".to_vec(), b"-eu".to_vec(), file.into_os_string().into_vec()];
        }
        let dir = self.exec_root.working_folder(&self.task.dir);
        let argv = resolve(argv, &env, &dir)?;
        let secrets = self.context.secrets(self.task);
        let mut on_line = |line: &[u8]| {
            if self.is_work {
                let line = String::from_utf8_lossy(line).into_owned();
                (self.context.events)(Event::TaskOutput { task: self.task.id.clone(), line });
            }
        };
        let changes = || tree_size(self.exec_root, self.task);
        self.context.processes.run(Spec {
            argv,
            dir: &dir,
            env: env.into_iter().collect(),
            stdin: Stdin::Null,
            timeout: self.task.timeout,
            stall: self.stall,
            grace: GRACE,
            log: &self.log,
            secrets: &secrets,
            owner: self.task.id.as_str(),
            progress: Some(&changes),
            confinement: self.exec_root.confinement(),
            on_line: &mut on_line,
        })
    }
}

/// A number that moves when the task's outputs do: what keeps a silent task from being called stalled.
pub(super) fn tree_size(exec_root: &ExecRoot, task: &Task) -> u64 {
    let workspace = &exec_root.dir;
    let size = |path: &WorkspacePath| {
        let signature = workspace.signature(path);
        signature.size.wrapping_add(signature.mtime_ns.unsigned_abs())
    };
    // Apart, everything that moves is the task's doing.
    let whole = [WorkspacePath::root()];
    let edited = if exec_root.private.is_some() { &whole[..] } else { &[] };
    let outputs = task.outputs.iter().map(|output| &output.path).chain(edited);
    outputs.fold(0, |sum, path| {
        let below = workspace.list(path).unwrap_or_default();
        below.iter().map(size).fold(sum.wrapping_add(size(path)), u64::wrapping_add)
    })
}

fn write_script(file: &Path, script: &[u8]) -> Result<(), SpawnError> {
    crate::workspace::write_atomic(file, script)
        .map_err(|error| SpawnError::Other { program: file.to_owned(), source: std::io::Error::other(error) })
}

/// Makes the program absolute: a bare name is looked up in the task's own PATH, and `spawn` stays cheap. What a path
/// leads to, the start itself will tell.
fn resolve(
    argv: Vec<Vec<u8>>,
    env: &BTreeMap<OsString, OsString>,
    dir: &Path,
) -> Result<Vec<OsString>, SpawnError> {
    let mut argv: Vec<OsString> = argv.into_iter().map(OsString::from_vec).collect();
    let name = argv.first().cloned().unwrap_or_default();
    let found = if name.as_bytes().contains(&b'/') {
        // As it would be written: `./tool` has no `.` in the middle.
        dir.join(name).components().collect()
    } else {
        let path = env.get(OsStr::new("PATH")).map(OsString::as_os_str);
        process::find_program(&name, path, dir).ok_or_else(|| SpawnError::NotFound(name.into()))?
    };
    argv[0] = found.into_os_string();
    Ok(argv)
}

/// Runs a `tools` command and gives what it printed.
pub fn run_tool(root: &Path, caller: &Caller, task: &Task, command: &Command) -> Result<String, String> {
    let env = environment(task, caller, &RunId::default());
    let paths = Paths { inputs: Vec::new(), outputs: Vec::new() };
    let dir = task.dir.under(root);
    let argv = resolve(arguments(command, &paths, &env), &env, &dir).map_err(|error| error.to_string())?;
    let secrets = values(task.secrets.iter().map(String::as_str), caller);
    let mut said = String::new();
    let mut on_line = |line: &[u8]| {
        said.push_str(&String::from_utf8_lossy(line));
        said.push('\n');
    };
    let ended = Processes::new().run(Spec {
        argv,
        dir: &dir,
        env: env.into_iter().collect(),
        stdin: Stdin::Null,
        timeout: Some(TOOL_TIMEOUT),
        stall: None,
        grace: GRACE,
        log: Path::new("/dev/null"),
        secrets: &secrets,
        owner: task.id.as_str(),
        progress: None,
        confinement: None,
        on_line: &mut on_line,
    });
    match ended.map_err(|error| error.to_string())?.end {
        End::Exited(0) => Ok(said),
        _ => Err(format!("`{}` did not succeed", command.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_commands_folder() {
        let path = |text: &str| {
            if text.is_empty() { WorkspacePath::root() } else { WorkspacePath::new(text).unwrap() }
        };
        let check = |to: &str, from: &str, expected: &str| {
            assert_eq!(relative(&path(to), &path(from)), expected.as_bytes());
        };
        check("a/b", "", "a/b");
        check("a/b", "a", "b");
        check("a/b", "c/d", "../../a/b");
        check("a", "a", ".");
    }

    #[test]
    fn inputs_are_quoted_in_a_script_and_split_in_an_argv() {
        let paths = Paths { inputs: vec![b"a b".to_vec(), b"-c".to_vec()], outputs: vec![b"out".to_vec()] };
        let env = BTreeMap::from([("TO".into(), "x y".into())]);
        let script =
            Template(vec![Piece::Text("cp ".into()), Piece::Inputs, Piece::Text(" ".into()), Piece::Outputs]);
        let shell = arguments(&Command::Shell(script), &paths, &env);
        assert_eq!(String::from_utf8_lossy(&shell[3]), "cp 'a b' ./-c out");
        let argv = Command::Argv(vec![
            Template::text("cp"),
            Template(vec![Piece::Inputs]),
            Template(vec![Piece::Text("--to=".into()), Piece::Env("TO".into())]),
        ]);
        let argv = arguments(&argv, &paths, &env);
        let argv: Vec<_> = argv.iter().map(|part| String::from_utf8_lossy(part)).collect();
        assert_eq!(argv, ["cp", "a b", "-c", "--to=x y"]);
    }
}
