//! The HOME of an agent's program: an empty one of its own with the files that the adapter writes, and with links
//! to the user's login and copies of what settings it needs. A program that renews its login by replacing the file has it brought back to the user's.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::incremental::Caller;
use crate::model::{Adapter, Home, UNFINISHED};

/// See the module.
pub(super) struct HomeFolder {
    /// HOME
    pub(super) path: PathBuf,
    /// What lies elsewhere and may be written all the same.
    pub(super) writable: Vec<PathBuf>,
    /// Places in HOME and the user's files to which they lead.
    links: Vec<(PathBuf, PathBuf)>,
}

impl HomeFolder {
    /// Makes it at `private`, or takes the user's, as the adapter says. What lies there from an earlier run of the same
    /// session stays.
    pub(super) fn prepare(
        adapter: &Adapter,
        private: &Path,
        caller: &Caller,
        fill: impl Fn(&str) -> String,
    ) -> io::Result<Self> {
        let users = caller.text("HOME").map(PathBuf::from);
        if adapter.home == Home::User {
            let path = users.unwrap_or_else(|| private.to_owned());
            fs::create_dir_all(&path)?;
            return Ok(Self { writable: vec![path.clone()], path, links: Vec::new() });
        }
        fs::create_dir_all(private)?;
        for (name, content) in &adapter.files {
            let place = private.join(name);
            fs::create_dir_all(place.parent().unwrap_or(private))?;
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&place)?;
            io::Write::write_all(&mut file, fill(content).as_bytes())?;
        }
        let users_own = |name: &String| users.as_ref().and_then(|home| home.join(name).canonicalize().ok());
        let mut links = Vec::new();
        let written = |name: &&String| adapter.files.iter().any(|(file, _)| file == *name);
        // What the adapter writes in its place is not the person's, and never goes back to them.
        for name in adapter.login.iter().filter(|name| !written(name)) {
            let Some(real) = users_own(name) else { continue };
            let place = private.join(name);
            fs::create_dir_all(place.parent().unwrap_or(private))?;
            if place.symlink_metadata().is_err() {
                symlink(&real, &place)?;
            }
            links.push((place, real));
        }
        // Settings name programs to start: what an agent plants there must not run the next time the person does.
        for name in adapter.settings.iter().filter(|name| !written(name)) {
            let place = private.join(name);
            if let Some(real) = users_own(name).filter(|_| place.symlink_metadata().is_err()) {
                fs::create_dir_all(place.parent().unwrap_or(private))?;
                fs::copy(&real, &place)?;
            }
        }
        let writable = links.iter().map(|(_, real)| real.clone()).collect();
        Ok(Self { path: private.to_owned(), writable, links })
    }

    /// Brings renewed logins back: files that took the place of their links.
    pub(super) fn give_back(&self) {
        for (place, real) in &self.links {
            let replaced = place.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
            let renewed = replaced.then(|| fs::read(place).ok()).flatten();
            let Some(renewed) = renewed.filter(|renewed| !renewed.is_empty()) else { continue };
            // A login that cannot be brought back is asked for anew by the program itself.
            if fs::read(real).is_ok_and(|old| old == renewed) || replace(real, &renewed).is_ok() {
                let _ = fs::remove_file(place).and_then(|()| symlink(real, place));
            }
        }
    }
}

/// Replaces the file, which keeps its permissions, in one step.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let permissions = fs::metadata(path)?.permissions();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file =
        tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(folder)?;
    io::Write::write_all(&mut file, bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter() -> Adapter {
        Adapter {
            files: vec![(".tool/settings.json".to_owned(), "{model}".to_owned())],
            login: vec![".tool/auth.json".to_owned(), ".tool/other.json".to_owned()],
            ..Adapter::default()
        }
    }

    /// A folder with a user's HOME, `user`, in which there is one file.
    fn user_with(file: &str, content: &str) -> (tempfile::TempDir, Caller) {
        let dir = tempfile::tempdir().unwrap();
        let user = dir.path().join("user");
        fs::create_dir_all(user.join(file).parent().unwrap()).unwrap();
        fs::write(user.join(file), content).unwrap();
        (dir, Caller([("HOME".into(), user.into())].into()))
    }

    #[test]
    fn a_file_that_the_adapter_writes_never_takes_the_place_of_the_users() {
        let (dir, caller) = user_with(".tool/settings.json", "theirs");
        let (user, private) = (dir.path().join("user"), dir.path().join("private"));
        let adapter = Adapter { login: vec![".tool/settings.json".to_owned()], ..adapter() };
        let home = HomeFolder::prepare(&adapter, &private, &caller, |_| "written".to_owned()).unwrap();
        home.give_back();
        assert_eq!(fs::read_to_string(private.join(".tool/settings.json")).unwrap(), "written");
        assert_eq!(fs::read_to_string(user.join(".tool/settings.json")).unwrap(), "theirs");
    }

    #[test]
    fn settings_are_copies_whatever_becomes_of_them() {
        let (dir, caller) = user_with(".tool/servers.json", "theirs");
        let (user, private) = (dir.path().join("user"), dir.path().join("private"));
        let adapter = Adapter { settings: vec![".tool/servers.json".to_owned()], ..adapter() };
        let home = HomeFolder::prepare(&adapter, &private, &caller, |_| "written".to_owned()).unwrap();
        assert_eq!(fs::read_to_string(private.join(".tool/servers.json")).unwrap(), "theirs");
        assert!(home.writable.is_empty());
        fs::write(private.join(".tool/servers.json"), "planted").unwrap();
        home.give_back();
        assert_eq!(fs::read_to_string(user.join(".tool/servers.json")).unwrap(), "theirs");
    }

    #[test]
    fn a_login_is_linked_and_comes_back_when_it_was_renewed() {
        let (dir, caller) = user_with(".tool/auth.json", "old");
        let (user, private) = (dir.path().join("user"), dir.path().join("private"));
        let home = HomeFolder::prepare(&adapter(), &private, &caller, |_| "filled".to_owned()).unwrap();
        assert_eq!(fs::read_to_string(private.join(".tool/settings.json")).unwrap(), "filled");
        assert_eq!(fs::read_to_string(private.join(".tool/auth.json")).unwrap(), "old");
        assert!(private.join(".tool/other.json").symlink_metadata().is_err(), "the user has none");
        assert_eq!(home.writable, [user.join(".tool/auth.json").canonicalize().unwrap()]);
        fs::remove_file(private.join(".tool/auth.json")).unwrap();
        fs::write(private.join(".tool/auth.json"), "renewed").unwrap();
        home.give_back();
        assert_eq!(fs::read_to_string(user.join(".tool/auth.json")).unwrap(), "renewed");
        assert!(private.join(".tool/auth.json").is_symlink());
    }
}
