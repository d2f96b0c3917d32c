//! `bwrap`, where the kernel has no Landlock or gives this user no namespace: the same paths as mounts.
//!
//! What differs from Landlock: hidden folders are empty and their parents can be listed, no device but those
//! of `/dev` that every program needs is there at all, `/dev/shm` is private, and a program that
//! a signal ended counts as one that exited with 128 and the signal's number.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::inside::Problem;
use super::{Confinement, Files, Network};

/// Where this program is seen, wherever it lies: the folder is a file system that `bwrap` makes.
const HELPER: &str = "/dev/conductor";

/// `bwrap` and its arguments, this program's second start being the last of them. None where it is not needed.
pub(super) fn command(confinement: &Confinement, dir: &Path) -> Result<Option<Command>, Problem> {
    let files = confinement.files() == Files::Bubblewrap;
    let network = confinement
        .network_by()
        .is_some_and(|by| by == Network::Bubblewrap || (files && by != Network::Nothing));
    let Some(program) = confinement.support.bubblewrap.as_ref().filter(|_| files || network) else {
        return Ok(None);
    };
    let helper = &confinement.support.helper;
    // For `bwrap`, `/proc/self/exe` is `bwrap`.
    let helper = fs::read_link(helper).unwrap_or_else(|_| helper.clone());
    let mut command = Command::new(program);
    if files {
        mounts(&mut command, confinement)?;
        command.arg("--ro-bind").arg(&helper).arg(HELPER);
    } else {
        command.args(["--dev-bind", "/", "/"]);
    }
    if network {
        command.arg("--unshare-net");
    }
    command.arg("--chdir").arg(dir).arg("--").arg(if files { Path::new(HELPER) } else { &helper });
    Ok(Some(command))
}

/// What a path becomes; at the same path the later one counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mount {
    Hide,
    Read,
    Write,
}

impl Mount {
    fn verb(self) -> &'static str {
        match self {
            Self::Hide => "hide",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

fn mounts(command: &mut Command, confinement: &Confinement) -> Result<(), Problem> {
    command.args(["--ro-bind", "/", "/", "--dev", "/dev"]);
    let lists = [
        (Mount::Hide, &confinement.hide),
        (Mount::Read, &confinement.read),
        (Mount::Write, &confinement.write),
    ];
    let mut mounts: Vec<(usize, Mount, PathBuf)> = Vec::new();
    for (mount, paths) in lists {
        for path in paths {
            match path.canonicalize() {
                Ok(path) => mounts.push((path.components().count(), mount, path)),
                Err(error) if mount == Mount::Read && error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(Problem::Path { action: mount.verb(), path: path.clone(), source });
                }
            }
        }
    }
    // Outer ones first: an inner one is mounted on top of them.
    mounts.sort();
    let is_within_write = |path: &Path| {
        let mut around =
            mounts.iter().filter(|(_, mount, other)| *mount != Mount::Read && path.starts_with(other));
        around.next_back().is_some_and(|(_, mount, _)| *mount == Mount::Write)
    };
    for (_, mount, path) in &mounts {
        match mount {
            // A device, on a mount where devices cannot be opened.
            Mount::Hide if !path.is_dir() => command.args(["--ro-bind", "/dev/null"]).arg(path),
            Mount::Hide => command.arg("--tmpfs").arg(path),
            Mount::Read if is_within_write(path) => continue,
            Mount::Read => command.arg("--ro-bind").args([path, path]),
            Mount::Write => command.arg("--bind").args([path, path]),
        };
    }
    for (_, _, path) in mounts.iter().filter(|(_, mount, path)| *mount == Mount::Hide && path.is_dir()) {
        let is_covered = mounts.iter().any(|(_, mount, other)| *mount != Mount::Hide && other == path);
        if !is_covered {
            command.arg("--remount-ro").arg(path);
        }
    }
    Ok(())
}
