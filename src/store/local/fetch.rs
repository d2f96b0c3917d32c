//! Brings content out of the cache, verified, into a folder where nobody works.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Cache, CacheEntry, Shared, for_each};
use crate::model::{Digest, Entry, EntryKind, WorkspacePath};

/// A link's text is no longer than this.
const LONGEST_LINK: u64 = 64 * 1024;

/// Why content did not come.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// It went since the entry was found, or is damaged: a miss.
    #[error("{0}")]
    Content(String),
    /// The place where it is to go cannot be written.
    #[error("{0}")]
    Target(String),
}

/// One file on its way.
struct Coming<'a> {
    path: &'a WorkspacePath,
    entry: Entry,
    mode: u32,
    size: u64,
}

impl Cache {
    /// Puts all that a result made below `to`, an empty folder: outputs and new states of edited files. For who holds
    /// the cache since the entry was found.
    ///
    /// # Errors
    /// Something is not there, is damaged, or cannot be written. What is damaged is gone from the cache then.
    pub fn fetch(&self, entry: &CacheEntry, to: &Path) -> Result<(), Missing> {
        let outputs = entry.outputs.iter().map(|file| Coming {
            path: &file.output.path,
            entry: file.output.entry,
            mode: file.mode,
            size: file.size,
        });
        let edited = entry.edited.iter().filter(|edit| edit.is_change() && edit.after.exists());
        let edited = edited.map(|edit| Coming {
            path: &edit.path,
            entry: edit.after,
            mode: if edit.after.executable { 0o755 } else { 0o644 },
            size: edit.size,
        });
        let files: Vec<Coming<'_>> = outputs.chain(edited).collect();
        let mut folders: Vec<WorkspacePath> = files.iter().filter_map(|file| file.path.parent()).collect();
        folders.sort();
        folders.dedup();
        for folder in folders {
            let folder = folder.under(to);
            fs::create_dir_all(&folder).map_err(|error| target(&folder, &error))?;
        }
        let failed = Mutex::new(None);
        for_each(&files, |file| {
            let is_over = || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if is_over() {
                return;
            }
            if let Err(error) = self.shared.fetch_one(file, &file.path.under(to)) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Content that lies beside a result; none where it is gone or damaged, which harms nobody.
    pub fn fetch_beside(&self, digest: &Digest, size: u64) -> Option<Vec<u8>> {
        match self.shared.blobs.read(digest, size) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.shared.is_damaged(digest, &error);
                None
            }
        }
    }
}

impl Shared {
    fn fetch_one(&self, file: &Coming<'_>, to: &Path) -> Result<(), Missing> {
        let digest = &file.entry.digest;
        match file.entry.kind {
            EntryKind::Folder => fs::create_dir_all(to).map_err(|error| target(to, &error)),
            EntryKind::Link => {
                let text = self.blobs.read(digest, file.size.min(LONGEST_LINK));
                let text = text.map_err(|error| self.is_damaged(digest, &error))?;
                symlink(std::ffi::OsString::from_vec(text), to).map_err(|error| target(to, &error))
            }
            EntryKind::File => {
                // The umask takes its part, as of a file that a program makes.
                let mut made = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(file.mode)
                    .open(to)
                    .map_err(|error| target(to, &error))?;
                self.copy(digest, &mut made, file.size, to)
            }
            _ => Err(Missing::Content(format!("{} is no file that could be restored", file.path))),
        }
    }

    fn copy(&self, digest: &Digest, made: &mut File, size: u64, to: &Path) -> Result<(), Missing> {
        match self.blobs.copy_to(digest, made, size) {
            Ok(()) => Ok(()),
            Err(error) if is_of_the_target(&error) => Err(target(to, &error)),
            Err(error) => Err(self.is_damaged(digest, &error)),
        }
    }

    /// What is damaged goes, so that it is written anew.
    fn is_damaged(&self, digest: &Digest, error: &io::Error) -> Missing {
        let message = format!("the content {} cannot be read: {error}", digest.short());
        if error.kind() != io::ErrorKind::NotFound {
            self.complain(message.clone());
            if self.options.write {
                self.blobs.remove(digest);
            }
        }
        Missing::Content(message)
    }
}

/// Errors that writing has and reading has not.
fn is_of_the_target(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | ReadOnlyFilesystem)
}

fn target(to: &Path, error: &io::Error) -> Missing {
    Missing::Target(format!("cannot write {}: {error}", to.display()))
}
