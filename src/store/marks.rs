//! Which folders below `.conductor/workspaces/` conductor has made, so that it removes those and no others.
//!
//! Each private folder has a mark: an empty file in `.conductor/workspaces/.made/`, where no confined task
//! writes. Its name is a digest of the identities (inode and time of birth) of `.conductor` and of the
//! folder. So a mark moves with a workspace that is renamed, and it does not vouch for another folder at the
//! same path, nor in a copy of the workspace. A name is one entry of a folder: no crash and no full disk leaves
//! half of a mark. The mark is there before the folder comes to its place, and goes after it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::model::Digest;

/// The folder of the marks, below `workspaces`.
const MADE: &str = ".made";
/// In it, the places of which a person was told, one a line.
const NAMED: &str = "named";
/// How often something is tried anew that another thread may hinder, because it removes an empty folder.
const TRIES: u32 = 20;

/// The marks of one workspace.
#[derive(Clone, Debug)]
pub struct Marks {
    /// `.conductor`
    folder: PathBuf,
}

impl Marks {
    /// Those of the workspace whose `.conductor` is `folder`.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// `.conductor/workspaces`
    pub fn workspaces(&self) -> PathBuf {
        self.folder.join("workspaces")
    }

    /// Makes a new, empty, marked folder at `place`, directly below [`Self::workspaces`].
    ///
    /// # Errors
    /// Something stands there, or it cannot be written.
    pub fn make(&self, place: &Path) -> io::Result<()> {
        if place.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let marks = self.workspaces().join(MADE);
        let attempt = || {
            fs::create_dir_all(&marks)?;
            let new = tempfile::Builder::new().prefix("new-").tempdir_in(&marks)?;
            // As any folder; the umask takes its part.
            let folder = new.path().join("folder");
            fs::create_dir(&folder)?;
            let mark = self.mark(&folder).ok_or(io::ErrorKind::NotFound)?;
            fs::write(&mark, [])?;
            fs::rename(&folder, place).inspect_err(|_| drop(fs::remove_file(&mark)))
        };
        let mut patience = TRIES;
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && patience > 0 => patience -= 1,
                made => return made,
            }
        }
    }

    /// True if conductor made the folder at `place`.
    pub fn is_made(&self, place: &Path) -> bool {
        self.mark(place).is_some_and(|mark| mark.symlink_metadata().is_ok())
    }

    /// Removes the folder at `place` by `remove`, and its mark once it is gone.
    ///
    /// # Errors
    /// Those of `remove`.
    pub fn remove_with<E>(&self, place: &Path, remove: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mark = self.mark(place);
        remove()?;
        if let Some(mark) = mark.filter(|_| place.symlink_metadata().is_err()) {
            let _ = fs::remove_file(mark);
            self.leave();
        }
        Ok(())
    }

    /// Removes marks of folders that are gone, and unfinished folders of killed runs. The caller holds the
    /// workspace's lock.
    pub fn tidy(&self) {
        let marks = self.workspaces().join(MADE);
        let in_use: BTreeSet<PathBuf> =
            entries(&self.workspaces()).iter().filter_map(|place| self.mark(place)).collect();
        for entry in entries(&marks) {
            let name = entry.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b"new-") {
                let _ = fs::remove_dir_all(&entry);
            } else if name != NAMED && !in_use.contains(&entry) {
                let _ = fs::remove_file(&entry);
            }
        }
        self.leave();
    }

    /// Entries of [`Self::workspaces`] that conductor did not make, sorted.
    pub fn strangers(&self) -> Vec<PathBuf> {
        let hidden =
            |place: &Path| place.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let mut found = entries(&self.workspaces());
        found.retain(|place| !self.is_made(place) && (!hidden(place) || place.join(".git").exists()));
        found
    }

    /// Those of `strangers` that no warning has named yet. Notes that they are named now, and forgets those that
    /// are gone.
    pub fn not_yet_named(&self, strangers: &[PathBuf]) -> Vec<PathBuf> {
        let file = self.workspaces().join(MADE).join(NAMED);
        let line = |place: &PathBuf| place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = fs::read_to_string(&file).unwrap_or_default();
        let known: BTreeSet<&str> = known.lines().collect();
        let now: BTreeSet<String> = strangers.iter().map(line).collect();
        if now.is_empty() {
            let _ = fs::remove_file(&file);
            self.leave();
        } else if !now.iter().map(String::as_str).eq(known.iter().copied()) {
            // If this fails, they are named again.
            let text: Vec<&str> = now.iter().map(String::as_str).collect();
            let folder = file.parent().unwrap_or(&file);
            let _ = fs::create_dir_all(folder).and_then(|()| fs::write(&file, text.join("\n")));
        }
        strangers.iter().filter(|place| !known.contains(line(place).as_str())).cloned().collect()
    }

    /// Removes the folders of the marks, if they are empty.
    fn leave(&self) {
        let workspaces = self.workspaces();
        if fs::remove_dir(workspaces.join(MADE)).is_ok() {
            let _ = fs::remove_dir(workspaces);
        }
    }

    /// The mark that the folder at `place` has, if it has one.
    fn mark(&self, place: &Path) -> Option<PathBuf> {
        let identity = format!("{}\0{}", identity(&self.folder)?, identity(place)?);
        let name = Digest::of(identity.as_bytes()).to_hex()[..32].to_owned();
        Some(self.workspaces().join(MADE).join(name))
    }
}

/// Identifies a folder for as long as it exists, also after a rename. No link is followed.
fn identity(folder: &Path) -> Option<String> {
    let metadata = folder.symlink_metadata().ok().filter(fs::Metadata::is_dir)?;
    // A file system that does not know it says nothing.
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Some(format!("{} {}", metadata.ino(), born.unwrap_or_default().as_nanos()))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> (tempfile::TempDir, Marks) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ws/.conductor");
        fs::create_dir_all(&folder).unwrap();
        (dir, Marks::of(&folder))
    }

    #[test]
    fn a_folder_is_conductors_as_long_as_it_is_the_one_that_was_made() {
        let (_dir, marks) = ground();
        let (place, other) = (marks.workspaces().join("T1"), marks.workspaces().join("T2"));
        marks.make(&place).unwrap();
        assert!(marks.is_made(&place));
        assert_eq!(marks.make(&place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::rename(&place, &other).unwrap();
        assert!(marks.is_made(&other) && !marks.is_made(&place));
        // The inode of the one that went may be given to this one.
        fs::create_dir(&place).unwrap();
        assert!(!marks.is_made(&place));
        marks.remove_with(&other, || fs::remove_dir(&other)).unwrap();
        assert_eq!(entries(&marks.workspaces()), [place]);
    }

    #[test]
    fn marks_move_with_a_workspace_and_vouch_for_no_copy_of_it() {
        let (dir, marks) = ground();
        marks.make(&marks.workspaces().join("T1")).unwrap();
        let moved = dir.path().join("moved");
        fs::rename(dir.path().join("ws"), &moved).unwrap();
        let marks = Marks::of(&moved.join(".conductor"));
        assert!(marks.is_made(&marks.workspaces().join("T1")));
        let copy = dir.path().join("copy");
        let status = std::process::Command::new("cp").arg("-a").args([&moved, &copy]).status().unwrap();
        assert!(status.success());
        let copied = Marks::of(&copy.join(".conductor"));
        assert!(!copied.is_made(&copied.workspaces().join("T1")));
        assert_eq!(copied.strangers(), [copied.workspaces().join("T1")]);
    }

    #[test]
    fn marks_of_nothing_go_and_others_stay() {
        let (_dir, marks) = ground();
        let (gone, kept) = (marks.workspaces().join("T1"), marks.workspaces().join("T2"));
        marks.make(&gone).unwrap();
        marks.make(&kept).unwrap();
        fs::remove_dir(&gone).unwrap();
        fs::create_dir(marks.workspaces().join(".made/new-abc")).unwrap();
        marks.tidy();
        assert!(marks.is_made(&kept));
        assert_eq!(entries(&marks.workspaces().join(MADE)).len(), 1);
    }

    #[test]
    fn a_stranger_is_named_once() {
        let (_dir, marks) = ground();
        let notes = marks.workspaces().join("notes");
        fs::create_dir_all(&notes).unwrap();
        assert_eq!(marks.not_yet_named(&marks.strangers()), [marks.workspaces().join("notes")]);
        assert!(marks.not_yet_named(&marks.strangers()).is_empty());
        fs::remove_dir(&notes).unwrap();
        assert!(marks.not_yet_named(&marks.strangers()).is_empty());
        fs::create_dir_all(&notes).unwrap();
        assert_eq!(marks.not_yet_named(&marks.strangers()), [notes]);
    }
}
