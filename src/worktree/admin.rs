//! The entries by which a repository knows its linked worktrees: the folders below `worktrees/` in git's
//! common folder, in the format of gitrepository-layout(5).
//!
//! They are read and written here and not by libgit2, which makes a branch for each worktree, needs a first commit, and
//! leaves halves behind when it is killed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::Error;
use super::remove::{Area, retry};

/// The file in an entry that says why its worktree is kept. git does not know it.
const KEPT: &str = "conductor-kept";

/// One entry: a folder below `worktrees/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admin {
    pub(super) dir: PathBuf,
}

impl Admin {
    /// All entries of the repository, half-written and locked ones too.
    pub(super) fn all(common_dir: &Path) -> Result<Vec<Self>, Error> {
        let folder = common_dir.join("worktrees");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("list", &folder))?,
        };
        let mut all: Vec<Self> = entries.flatten().map(|entry| Self { dir: entry.path() }).collect();
        all.sort_by(|a, b| a.dir.cmp(&b.dir));
        Ok(all)
    }

    /// Writes an entry named `name`, or `name-2` and so on where a person has that name, for the worktree at `place`,
    /// whose HEAD is the commit `head`. The `.git` of `place` is written too, and first: an entry without one
    /// could be pruned.
    pub(super) fn create(
        common_dir: &Path,
        area: &Area,
        name: &str,
        place: &Path,
        head: &str,
    ) -> Result<Self, Error> {
        let unfinished = area.make()?;
        let write = |file: &str, content: &[u8]| {
            let path = unfinished.path().join(file);
            fs::write(&path, content).map_err(Error::io("write", path))
        };
        let link = place.join(".git");
        write("gitdir", &[link.as_os_str().as_bytes(), b"\n"].concat())?;
        write("commondir", b"../..\n")?;
        write("HEAD", format!("{head}\n").as_bytes())?;
        let worktrees = common_dir.join("worktrees");
        for number in 1_u32.. {
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let dir = worktrees.join(name);
            if dir.symlink_metadata().is_ok() {
                continue;
            }
            let target = [b"gitdir: ", dir.as_os_str().as_bytes(), b"\n"].concat();
            fs::write(&link, target).map_err(Error::io("write", &link))?;
            let publish = || {
                make_folder(&worktrees)?;
                fs::rename(unfinished.path(), &dir)
            };
            match retry(publish) {
                // Made meanwhile by somebody else.
                Err(error) if dir.symlink_metadata().is_ok() && error.kind() != io::ErrorKind::NotFound => {}
                published => {
                    published.map_err(Error::io("make the worktree's entry", &dir))?;
                    return Ok(Self { dir });
                }
            }
        }
        unreachable_names(&worktrees)
    }

    /// The worktree's folder, as the entry says; none where it does not.
    pub(super) fn place(&self) -> Option<PathBuf> {
        let mut text = fs::read(self.dir.join("gitdir")).ok()?;
        while text.last().is_some_and(u8::is_ascii_whitespace) {
            text.pop();
        }
        // git writes relative paths where it is told to; they start at the entry.
        let link = normal(&self.dir.join(OsString::from_vec(text)));
        (link.file_name() == Some(OsStr::new(".git"))).then(|| link.parent().map(real)).flatten()
    }

    /// True if it has a name as conductor gives it: `conductor-`, the workspace's eight digits, the task.
    pub(super) fn is_conductors(&self) -> bool {
        self.dir.file_name().is_some_and(is_conductors_name)
    }

    /// Marks the worktree as one to be kept, and says why.
    pub(super) fn keep(&self, why: &str) -> Result<(), Error> {
        let path = self.dir.join(KEPT);
        fs::write(&path, why).map_err(Error::io("write", path))
    }

    /// Why the worktree is kept; none where it is not.
    pub(super) fn kept(&self) -> Option<String> {
        Some(String::from_utf8_lossy(&fs::read(self.dir.join(KEPT)).ok()?).into_owned())
    }

    /// Removes the entry, locked or not, in one step.
    pub(super) fn remove(&self, area: &Area) -> Result<(), Error> {
        area.remove(&self.dir)?;
        // As git does after its last worktree.
        let _ = self.dir.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Makes git's folder for worktrees. Another task may remove it, empty, at this very moment: that is no error of its own
/// kind, but a folder that is not there.
fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !folder.exists() => {
            Err(io::ErrorKind::NotFound.into())
        }
        made => made,
    }
}

fn unreachable_names(worktrees: &Path) -> Result<Admin, Error> {
    let error = io::Error::new(io::ErrorKind::AlreadyExists, "every name is taken");
    Err(Error::io("make a worktree's entry in", worktrees)(error))
}

/// The branch that the `HEAD` in `git_dir` names.
pub(super) fn head_in(git_dir: &Path) -> Option<String> {
    let head = fs::read_to_string(git_dir.join("HEAD")).ok()?;
    Some(head.strip_prefix("ref:")?.trim().to_owned())
}

fn is_conductors_name(name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(b"conductor-");
    rest.is_some_and(|rest| rest.get(8) == Some(&b'-') && rest[..8].iter().all(u8::is_ascii_hexdigit))
}

/// The name of the entry that the `.git` file of the worktree at `place` names.
fn entry_name(place: &Path) -> Option<OsString> {
    if place.is_symlink() || !place.join(".git").is_file() {
        return None;
    }
    let mut text = fs::read(place.join(".git")).ok()?;
    while text.last().is_some_and(u8::is_ascii_whitespace) {
        text.pop();
    }
    Some(Path::new(OsStr::from_bytes(text.strip_prefix(b"gitdir: ")?)).file_name()?.to_owned())
}

/// True if the folder at `place` says that it is a worktree of conductor's, whether its entry is there or not.
pub(super) fn says_conductors(place: &Path) -> bool {
    entry_name(place).is_some_and(|name| is_conductors_name(&name))
}

/// The entry that the `.git` file of the worktree at `place` names.
pub(super) fn entry_of(place: &Path, common_dir: &Path) -> Option<Admin> {
    let name = entry_name(place)?;
    let dir = common_dir.join("worktrees").join(name);
    dir.is_dir().then_some(Admin { dir })
}

/// Is `place` below a folder `.conductor/workspaces`?
pub(super) fn is_ours(place: &Path) -> bool {
    let parts: Vec<Component> = place.components().collect();
    let is = |part: &Component, name: &str| part.as_os_str() == name;
    parts.windows(3).any(|three| is(&three[0], ".conductor") && is(&three[1], "workspaces"))
        && !parts.contains(&Component::ParentDir)
}

/// `path` with its links resolved, as far as it exists.
pub(super) fn real(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(real) = existing.canonicalize() {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return path.to_owned();
        };
        rest.push(name);
        existing = parent;
    }
}

/// `path` without `.` and `..`, as far as names tell.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}
