//! The command line of a confined process: `bwrap` where it is needed, then this program's second start with
//! what it has to do, then the program itself.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::bubblewrap;
use super::inside::{ENTRY, Problem};
use super::report::Report;
use super::{Confinement, Files, Network};

/// What the second start is told, one argument each; a path or a variable follows those that need one.
pub(super) mod word {
    pub(in super::super) const LANDLOCK: &str = "--landlock";
    pub(in super::super) const NAMESPACE: &str = "--no-network";
    pub(in super::super) const WRITE: &str = "--write";
    pub(in super::super) const READ: &str = "--read";
    pub(in super::super) const HIDE: &str = "--hide";
    pub(in super::super) const ENV: &str = "--env";
    pub(in super::super) const END: &str = "--";
}

/// A command that runs `argv` confined in `dir`, its environment set, with the report that tells whether it did.
/// Standard input and output are still to be set; standard error is the report's. An empty `argv` only tries.
pub(in super::super) fn confined<'e>(
    confinement: &Confinement,
    argv: &[OsString],
    dir: &Path,
    env: impl IntoIterator<Item = (&'e OsStr, &'e OsStr)>,
) -> Result<(Command, Report), Problem> {
    let (withheld, env): (Vec<_>, Vec<_>) = env.into_iter().partition(|(name, _)| is_withheld(name));
    let mut command = if let Some(command) = bubblewrap::command(confinement, dir)? {
        command
    } else {
        let mut command = Command::new(&confinement.support.helper);
        command.arg0("conductor");
        command
    };
    command.arg(ENTRY);
    if matches!(confinement.files(), Files::Landlock { .. }) {
        command.arg(word::LANDLOCK);
        let lists = [
            (word::WRITE, &confinement.write),
            (word::READ, &confinement.read),
            (word::HIDE, &confinement.hide),
        ];
        for (word, paths) in lists {
            for path in paths {
                command.arg(word).arg(path);
            }
        }
    }
    if confinement.network_by() == Some(Network::Namespace) && confinement.files() != Files::Bubblewrap {
        command.arg(word::NAMESPACE);
    }
    for (name, value) in withheld {
        let mut variable = name.to_owned();
        variable.push("=");
        variable.push(value);
        command.arg(word::ENV).arg(variable);
    }
    command.arg(word::END).args(argv).current_dir(dir).env_clear().envs(env);
    let (report, writer) = Report::pipe().map_err(Problem::system("make a pipe"))?;
    command.stderr(writer);
    Ok((command, report))
}

/// Would the loader run code of the process's choice at the second start, before it is confined? Such
/// variables reach the program alone.
fn is_withheld(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"LD_") || name == "GLIBC_TUNABLES"
}
