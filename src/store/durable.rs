//! Replacing a file so that after a crash or a power cut there is either the old one or the whole new one.
//! Knows nothing of what the file holds.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Error, failed};

/// Writes a new file and renames it to `path`, both synced: without the first sync a power cut may leave
/// an empty file under the new name, without the second the old one. On an error the old file stays, and
/// nothing else is left behind.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let build = || {
        let mut temporary = tempfile::Builder::new()
            .prefix("state.tmp-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)?;
        write(temporary.as_file_mut())?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
        sync_dir(dir)
    };
    build().map_err(failed("write", path))
}

/// Makes the creation, renaming or removal of an entry of `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
