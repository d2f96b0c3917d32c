//! Git: the only room that knows git2. What conductor asks of the repository around a workspace.
//!
//! It does not know tasks or the workspace. Invariants: nothing here changes the index, HEAD or a file of
//! the working tree; a missing or damaged repository is no error, it only has nothing to say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::{ObjectType, Oid, RepositoryOpenFlags};

/// The git repository that a folder is part of.
pub struct Repository {
    /// libgit2's handle may move between threads, but only one may use it at a time.
    git: Mutex<git2::Repository>,
    common_dir: PathBuf,
}

impl Repository {
    /// The repository around the folder `root`; none where there is none, or none that can be read. The
    /// environment (`GIT_DIR`) has no say in it.
    pub fn discover(root: &Path) -> Option<Self> {
        let git = git2::Repository::open_ext(root, RepositoryOpenFlags::empty(), &[] as &[&OsStr]).ok()?;
        let common_dir = git.commondir().to_owned();
        Some(Self { git: Mutex::new(git), common_dir })
    }

    /// The folder that all worktrees of the repository share: `.git`, or what `.git` leads to.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The commit that HEAD stands at, in hexadecimal; none before the first commit.
    pub fn head_commit(&self) -> Option<String> {
        let git = self.lock();
        let commit = git.head().ok()?.peel_to_commit().ok()?;
        Some(commit.id().to_string())
    }

    /// Does the object database hold a blob with exactly the bytes of the file at `path` (of a link: of its
    /// text)? Then these bytes are safe with git, whatever happens to the file. Nothing is written, and
    /// no filter (line ends, LFS) applies.
    pub fn has_bytes(&self, path: &Path) -> bool {
        let hash = || -> Option<Oid> {
            if path.symlink_metadata().ok()?.is_symlink() {
                let text = std::fs::read_link(path).ok()?;
                return Oid::hash_object(ObjectType::Blob, text.as_os_str().as_bytes()).ok();
            }
            Oid::hash_file(ObjectType::Blob, path).ok()
        };
        hash().is_some_and(|id| self.lock().odb().is_ok_and(|objects| objects.exists(id)))
    }

    fn lock(&self) -> MutexGuard<'_, git2::Repository> {
        self.git.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        for name in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{name}_NAME"), "Test")
                .env(format!("GIT_{name}_EMAIL"), "test@localhost");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let output = command.args(arguments).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn git_has_the_bytes_of_what_was_added_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        git(dir, &["init", "-q"]);
        fs::write(dir.join(".gitattributes"), "* text=auto eol=crlf\n").unwrap();
        fs::write(dir.join("file"), "one\n").unwrap();
        symlink("target", dir.join("link")).unwrap();
        git(dir, &["add", "file", "link"]);
        let repository = Repository::discover(dir).unwrap();
        assert!(repository.has_bytes(&dir.join("file")) && repository.has_bytes(&dir.join("link")));
        fs::write(dir.join("file"), "two\n").unwrap();
        assert!(!repository.has_bytes(&dir.join("file")) && !repository.has_bytes(&dir.join("nothing")));
        assert!(!repository.has_bytes(dir));
        git(dir, &["add", "file"]);
        assert!(repository.has_bytes(&dir.join("file")), "an object that is newer than the handle");
        fs::write(dir.join("file"), "two\r\n").unwrap();
        assert!(!repository.has_bytes(&dir.join("file")), "no filter makes these the bytes in git");
    }

    #[test]
    fn a_linked_worktree_shares_the_common_folder() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().canonicalize().unwrap().join("main");
        fs::create_dir(&main).unwrap();
        git(&main, &["init", "-q"]);
        let repository = Repository::discover(&main).unwrap();
        assert_eq!(repository.head_commit(), None);
        git(&main, &["commit", "-q", "--allow-empty", "-m", "first"]);
        assert_eq!(repository.head_commit(), Some(git(&main, &["rev-parse", "HEAD"])));
        git(&main, &["worktree", "add", "-q", "../linked"]);
        fs::create_dir(main.join("../linked/deep")).unwrap();
        let linked = Repository::discover(&main.join("../linked/deep")).unwrap();
        assert_eq!(linked.common_dir().canonicalize().unwrap(), main.join(".git"));
        assert_eq!(linked.head_commit(), repository.head_commit());
    }

    #[test]
    fn no_repository_and_a_damaged_one_are_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Repository::discover(folder.path()).is_none());
        fs::write(folder.path().join(".git"), "gitdir: nowhere\n").unwrap();
        assert!(Repository::discover(folder.path()).is_none());
        assert!(Repository::discover(Path::new("/no/such/folder")).is_none());
    }
}
