//! Conductor's own entries of `.conductor/`: their names, their kinds, and the `.gitignore` that lists them.
//! Knows nothing of what is in them.
//!
//! What stands in the place of an entry and is of another kind (a folder where a file should be, a link that
//! leads nowhere) is somebody else's. It is moved aside whole, under a name that nobody has, never removed.

use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::Diagnostic;

use super::durable::{self, Durability};
use super::{Error, failed};

/// What an entry has to be for conductor to use it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

/// What conductor makes in `.conductor/`.
const ENTRIES: [(&str, Kind); 19] = [
    (".gitignore", Kind::File),
    ("lock", Kind::File),
    ("state", Kind::File),
    ("state.log", Kind::File),
    ("journal", Kind::File),
    ("plan", Kind::File),
    ("locked", Kind::File),
    ("programs", Kind::File),
    ("bans", Kind::File),
    ("flakes", Kind::File),
    ("runs", Kind::Folder),
    ("aside", Kind::Folder),
    ("conflicts", Kind::Folder),
    ("workspaces", Kind::Folder),
    ("objects", Kind::Folder),
    ("pending", Kind::Folder),
    ("sessions", Kind::Folder),
    ("incoming", Kind::Folder),
    ("cache", Kind::Folder),
];

/// The same for its `.gitignore`. Never `*`: a manifest may live there.
const IGNORED: [&str; 21] = [
    "/.gitignore",
    "/.*.tmp-*",
    "/lock",
    "/state",
    "/state.*",
    "/journal",
    "/plan",
    "/locked",
    "/programs",
    "/bans",
    "/flakes",
    "/runs/",
    "/aside/",
    "/conflicts/",
    "/workspaces/",
    "/objects/",
    "/pending/",
    "/sessions/",
    "/incoming/",
    "/cache/",
    "/*.set-aside-*",
];

/// Makes the folder `.conductor` at `dir` ready to be used: each of conductor's entries that is there is of
/// the kind that it has to be, and a `.gitignore` names them. Lines that a person added to that stay. Returns
/// what was set aside.
pub fn prepare(dir: &Path) -> Result<Vec<Diagnostic>, Error> {
    std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
    let notices = ENTRIES
        .into_iter()
        .filter_map(|(name, kind)| make_room(dir, name, kind).transpose())
        .collect::<Result<_, _>>()?;
    ignore(&dir.join(".gitignore"))?;
    Ok(notices)
}

/// Entries of others directly below `.conductor` at `dir`, without `known`, sorted.
pub fn strangers(dir: &Path, known: &[PathBuf]) -> Vec<PathBuf> {
    let own = |name: &str| {
        ENTRIES.iter().any(|(own, _)| *own == name)
            || name.contains(".set-aside-")
            || name.contains(".tmp-")
            || name.starts_with("state.")
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let others = entries.filter(|entry| !entry.file_name().to_str().is_some_and(own));
    let mut found: Vec<PathBuf> = others.map(|entry| entry.path()).collect();
    found.retain(|place| !known.iter().any(|known| known.starts_with(place)));
    found.sort();
    found
}

/// Moves what is no entry of conductor's out of the place of the entry `name`.
fn make_room(dir: &Path, name: &str, wanted: Kind) -> Result<Option<Diagnostic>, Error> {
    let path = dir.join(name);
    let Ok(found) = path.symlink_metadata() else { return Ok(None) };
    // A link counts as what it leads to.
    let is_wanted = path.metadata().is_ok_and(|metadata| match wanted {
        Kind::File => metadata.is_file(),
        Kind::Folder => metadata.is_dir(),
    });
    if is_wanted {
        return Ok(None);
    }
    let free = (1_u32..).map(|number| format!("{name}.set-aside-{number}"));
    let mut free = free.filter(|aside| dir.join(aside).symlink_metadata().is_err());
    let Some(aside) = free.next() else { return Ok(None) };
    match std::fs::rename(&path, dir.join(&aside)) {
        // Another build was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("set aside", &path)(error)),
        Ok(()) => Ok(Some(misplaced(&path, found.file_type(), wanted, &aside))),
    }
}

fn misplaced(path: &Path, found: FileType, wanted: Kind, aside: &str) -> Diagnostic {
    let found = match found {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_file() => "a file",
        kind if kind.is_symlink() => "a link that leads to nothing of the kind",
        _ => "a special file",
    };
    let wanted = match wanted {
        Kind::File => "file",
        Kind::Folder => "folder",
    };
    let message = format!(
        "{} is {found} where conductor keeps a {wanted}; it was set aside as {aside}",
        path.display()
    );
    Diagnostic::warning("state::misplaced", message)
        .help("nothing of it is lost; tasks whose results are no longer known run again")
}

fn ignore(path: &Path) -> Result<(), Error> {
    let text = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let has = |entry: &&str| text.split(|byte| *byte == b'\n').any(|line| line == entry.as_bytes());
    let missing: Vec<_> = IGNORED.into_iter().filter(|entry| !has(entry)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let newline: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    let added = missing.join("\n");
    // What is ours in it is written again where it is missing; what others wrote is to last.
    let durability = if text.is_empty() { Durability::Passing } else { Durability::Lasting };
    durable::replace_with(path, durability, |file| {
        io::Write::write_all(file, &[&text, newline, added.as_bytes(), b"\n"].concat())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gitignore_names_our_entries_and_keeps_the_lines_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join(".conductor");
        assert_eq!(prepare(&dir).unwrap(), []);
        let path = dir.join(".gitignore");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().collect::<Vec<_>>(), IGNORED);
        std::fs::write(&path, b"/mine-\xff\n/lock").unwrap();
        prepare(&dir).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert!(text.starts_with(b"/mine-\xff\n/lock\n/.gitignore\n"), "{}", text.escape_ascii());
        assert_eq!(text.split(|byte| *byte == b'\n').filter(|line| line == b"/lock").count(), 1);
        let modified = path.metadata().unwrap().modified().unwrap();
        prepare(&dir).unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), modified);
    }

    #[test]
    fn what_is_of_another_kind_is_set_aside_whole_and_never_over_something_else() {
        for (name, kind) in ENTRIES {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path();
            let place = dir.join(name);
            for number in 1..=3 {
                let _ = std::fs::remove_file(&place);
                match kind {
                    Kind::File => std::fs::create_dir_all(place.join("deep/in")).unwrap(),
                    Kind::Folder => std::fs::write(&place, format!("mine {number}")).unwrap(),
                }
                let notices = prepare(dir).unwrap();
                let [notice] = &notices[..] else { panic!("{notices:?}") };
                let aside = format!("{name}.set-aside-{number}");
                assert!(notice.message.ends_with(&format!("it was set aside as {aside}")), "{notice:?}");
                match kind {
                    Kind::File => assert!(dir.join(aside).join("deep/in").is_dir()),
                    Kind::Folder => {
                        assert_eq!(
                            std::fs::read_to_string(dir.join(aside)).unwrap(),
                            format!("mine {number}")
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_link_to_the_right_kind_is_used_and_one_to_nothing_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        std::fs::create_dir(dir.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.join("runs")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("plan")).unwrap();
        let notices = prepare(dir).unwrap();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(dir.join("runs").is_symlink());
        assert!(dir.join("plan.set-aside-1").is_symlink());
    }
}
