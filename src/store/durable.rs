//! Replacing a file so that after a crash or a power cut there is either the old one or the whole new one.
//! Knows nothing of what the file holds.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Error, failed};

/// What a power cut may take of a file that was just replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// Nothing.
    Lasting,
    /// The new file, and perhaps the old one: it can be made again, and whoever reads it notices.
    Passing,
}

/// [`replace_with`] for what is to last.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    replace_with(path, Durability::Lasting, write)
}

/// Writes a new file and renames it to `path`. What is to last is synced twice: without the first sync a power cut may
/// leave an empty file under the new name, without the second the old one. On an error the old file stays, and
/// nothing else is left behind.
pub(super) fn replace_with(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Error> {
    let lasts = durability == Durability::Lasting;
    let dir = path.parent().unwrap_or(Path::new("."));
    let build = || {
        let mut temporary = tempfile::Builder::new()
            .prefix(&temporary_prefix(path))
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)?;
        write(temporary.as_file_mut())?;
        if lasts {
            temporary.as_file().sync_all()?;
        }
        temporary.persist(path).map_err(|error| error.error)?;
        if lasts { sync_dir(dir) } else { Ok(()) }
    };
    build().map_err(failed("write", path))
}

/// Removes what a killed [`replace`] of `path` left behind. Nobody may be replacing it now.
pub(super) fn remove_leftovers(path: &Path) {
    let dir = path.parent().unwrap_or(Path::new("."));
    let prefix = temporary_prefix(path);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            // What cannot be removed now is tried again the next time.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn temporary_prefix(path: &Path) -> String {
    format!(".{}.tmp-", path.file_name().unwrap_or_default().display())
}

/// Makes the creation, renaming or removal of an entry of `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, |file| file.write_all(b"old")).unwrap();
        let failing = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = replace(&path, failing).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_write_left_behind_is_removed_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".state.tmp-x", ".state.tmp", "state", ".other.tmp-x"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_leftovers(&dir.path().join("state"));
        assert!(!dir.path().join(".state.tmp-x").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
