//! Finding a program as a shell would, but against the task's own PATH and folder rather than conductor's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// What PATH is where it is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The file that `name` means: with a `/` in it, a path relative to `dir`; else the first executable file of
/// that name in the folders of `path_var` (relative ones and the empty one are relative to `dir`).
/// Absolute where `dir` is.
pub fn find_program(name: &OsStr, path_var: Option<&OsStr>, dir: &Path) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    if name.as_bytes().contains(&b'/') {
        return Some(dir.join(name)).filter(|path| is_program(path));
    }
    let default = OsString::from(DEFAULT_PATH);
    std::env::split_paths(path_var.unwrap_or(&default))
        .map(|folder| dir.join(folder).join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn programs_are_found_on_the_given_path_and_below_the_given_folder() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        for (name, mode) in [("bin/tool", 0o755), ("first/tool", 0o644)] {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), "").unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(dir.join("first/sh")).unwrap();
        let find = |name: &str, path: Option<&str>| find_program(name.as_ref(), path.map(OsStr::new), dir);
        assert_eq!(find("tool", Some("/nowhere:first:bin")), Some(dir.join("bin/tool")));
        assert_eq!(find("bin/tool", None), Some(dir.join("bin/tool")));
        assert_eq!(find("tool", Some("first")), None);
        assert_eq!(find("first/tool", Some("bin")), None);
        assert_eq!(find("", Some("bin")), None);
        assert!(find("sh", None).is_some_and(|path| path.is_absolute()));
    }
}
