//! Removes private folders, even if a task has changed their permissions.

use std::path::Path;

use crate::execute::staging::StagingError;

/// Removes a folder, also one in which a task has forbidden writing. Nothing there is fine.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_all(folder: &Path) -> Result<(), StagingError> {
    use std::os::unix::fs::PermissionsExt as _;
    fn loosen(folder: &Path) {
        let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                loosen(&entry.path());
            }
        }
    }
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    if std::fs::remove_dir_all(folder).is_err() {
        loosen(folder);
        if let Err(error) = std::fs::remove_dir_all(folder)
            && folder.symlink_metadata().is_ok()
        {
            return Err(StagingError(format!("cannot remove {}: {error}", folder.display())));
        }
    }
    Ok(())
}
