//! Finding the repository, and what it has.

use std::os::unix::fs::symlink;

use super::*;

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

#[test]
fn a_repository_that_cannot_be_used_says_why() {
    let ground = Ground::new();
    ground.git(&["config", "core.repositoryFormatVersion", "1"]);
    ground.git(&["config", "extensions.unheardOf", "true"]);
    let error = Repository::open(&ground.top).err().unwrap().to_string();
    assert!(error.contains("unheardof") && error.contains("no reftable"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    assert!(Repository::open(folder.path()).unwrap().is_none());
    let made = output(folder.path(), &["init", "-q", "--object-format=sha256"]);
    assert!(made.status.success());
    let error = Repository::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("SHA-1"), "{error}");
}
