//! Copies on the file system of the tests, and on file systems that share blocks where this machine can mount one.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;

fn file(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn signature(path: &Path) -> Signature {
    signature_of(&rustix::fs::lstat(path).unwrap())
}

fn entry(content: &[u8], executable: bool) -> Expected {
    Expected::Entry(Entry { kind: EntryKind::File, executable, digest: Digest::of(content) })
}

/// It is like its original and shares nothing with it that could be written.
fn assert_private_copy(from: &Path, to: &Path) {
    let (from_is, to_is) = (from.symlink_metadata().unwrap(), to.symlink_metadata().unwrap());
    assert_ne!((from_is.dev(), from_is.ino()), (to_is.dev(), to_is.ino()));
    assert_eq!((to_is.nlink(), to_is.mode(), to_is.len()), (1, from_is.mode(), from_is.len()));
    assert_eq!(to_is.modified().unwrap(), from_is.modified().unwrap());
    let before = fs::read(from).unwrap();
    assert_eq!(fs::read(to).unwrap(), before);
    let permissions = to_is.permissions();
    fs::set_permissions(to, Permissions::from_mode(0o600)).unwrap();
    fs::OpenOptions::new().append(true).open(to).unwrap().write_all(b"more").unwrap();
    assert_eq!(fs::read(from).unwrap(), before, "the original does not change with its copy");
    fs::set_permissions(to, permissions).unwrap();
}

#[test]
fn a_copy_has_content_permissions_and_time_and_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let large = vec![7; 3_000_000];
    for (mode, content) in [(0o644, &b""[..]), (0o755, b"script"), (0o444, &large)] {
        file(&from, content, mode);
        let modified = std::time::SystemTime::now() - std::time::Duration::from_nanos(86_400_000_000_123);
        File::open(&from).unwrap().set_modified(modified).unwrap();
        let executable = mode == 0o755;
        for expected in
            [Expected::Anything, Expected::Signature(signature(&from)), entry(content, executable)]
        {
            let to = folder.path().join("a/b/to");
            assert_ne!(clone_file(&from, &to, expected).unwrap(), Cloned::Changed);
            assert_private_copy(&from, &to);
            fs::remove_file(to).unwrap();
        }
        fs::remove_file(&from).unwrap();
    }
}

#[test]
fn a_set_user_id_bit_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, b"x", 0o4755);
    clone_file(&from, &to, Expected::Anything).unwrap();
    assert_eq!(to.metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_link_stays_a_link_and_a_folder_is_made_without_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("x/to"));
    let text = OsString::from_vec(b"nowhere \xff".to_vec());
    symlink(&text, &from).unwrap();
    let link = |text: &[u8]| {
        Expected::Entry(Entry { kind: EntryKind::Link, executable: false, digest: Digest::of(text) })
    };
    assert_eq!(clone_file(&from, &to, link(b"elsewhere")).unwrap(), Cloned::Changed);
    assert_eq!(clone_file(&from, &to, link(b"nowhere \xff")).unwrap(), Cloned::Copied);
    assert_eq!(fs::read_link(&to).unwrap().as_os_str(), text);
    let (filled, made) = (folder.path().join("filled"), folder.path().join("y/made"));
    fs::create_dir(&filled).unwrap();
    file(&filled.join("file"), b"x", 0o600);
    let empty = Expected::Entry(Entry::bare(EntryKind::Folder));
    assert_eq!(clone_file(&filled, &made, empty).unwrap(), Cloned::Copied);
    assert_eq!(fs::read_dir(made).unwrap().count(), 0);
}

#[test]
fn what_is_not_what_was_expected_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, b"content", 0o644);
    let old = signature(&from);
    let check = |from: &Path, expected: Expected| {
        assert_eq!(clone_file(from, &to, expected).unwrap(), Cloned::Changed);
        assert!(to.symlink_metadata().is_err());
    };
    check(&from, entry(b"CONTENT", false));
    check(&from, entry(b"content", true));
    check(&from, Expected::Entry(Entry::bare(EntryKind::Folder)));
    check(&folder.path().join("missing"), Expected::Anything);
    check(&from.join("below"), Expected::Anything);
    check(folder.path(), entry(b"content", false));
    file(&from, b"changed", 0o644);
    check(&from, Expected::Signature(old));
}

#[test]
fn nothing_is_replaced_and_nothing_special_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, b"from", 0o644);
    file(&to, b"to", 0o644);
    let error = clone_file(&from, &to, Expected::Anything).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot make {}", to.display()));
    assert_eq!(fs::read(&to).unwrap(), b"to");
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    assert!(clone_file(&pipe, &folder.path().join("copy"), Expected::Anything).is_err());
    assert!(!folder.path().join("copy").exists());
}

#[test]
fn a_file_that_changes_while_it_is_copied_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, b"content", 0o644);
    let begun = signature(&from);
    let original = File::open(&from).unwrap();
    let target =
        || fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&to).unwrap();
    assert_eq!(fill(&original, &mut target(), begun, Expected::Anything).unwrap(), Cloned::Copied);
    // Replaced between the look and the opening.
    file(&folder.path().join("new"), b"content", 0o644);
    fs::rename(folder.path().join("new"), &from).unwrap();
    let other = File::open(&from).unwrap();
    assert_eq!(fill(&other, &mut target(), begun, Expected::Anything).unwrap(), Cloned::Changed);
    // Written after it was looked at.
    fs::OpenOptions::new().append(true).open(&from).unwrap().write_all(b" and more").unwrap();
    assert_eq!(
        fill(&other, &mut target(), signature(&folder.path().join("to")), Expected::Anything).unwrap(),
        Cloned::Changed
    );
}

#[test]
fn many_are_copied_in_order_and_the_first_failure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<(PathBuf, PathBuf)> = (0..300)
        .map(|n| {
            let from = folder.path().join(format!("from{n}"));
            file(&from, format!("content {n}").as_bytes(), 0o644);
            (from, folder.path().join(format!("copies/{}/{n}", n % 7)))
        })
        .collect();
    fs::remove_file(&paths[17].0).unwrap();
    let expected = Expected::Anything;
    let list: Vec<Cloning<'_>> = paths.iter().map(|(from, to)| Cloning { from, to, expected }).collect();
    let cloned = clone_many(&list).unwrap();
    assert!(cloned.iter().enumerate().all(|(n, cloned)| (*cloned == Cloned::Changed) == (n == 17)));
    assert_eq!(fs::read(&paths[299].1).unwrap(), b"content 299");
    assert!(clone_many(&list).unwrap_err().to_string().starts_with("cannot make "));
    assert!(clone_many(&[]).unwrap().is_empty());
}

/// A file system of its own, in a file.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// None where this machine cannot: then the test is skipped, and says so.
    fn new(mkfs: &str, options: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(400 << 20).unwrap();
        fs::create_dir(folder.path().join("mounted")).unwrap();
        let succeeds = |program: &str, args: &[&OsStr]| {
            Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
        };
        let make: Vec<&OsStr> = options.iter().map(OsStr::new).chain([image.as_os_str()]).collect();
        let mounted = folder.path().join("mounted");
        let mount = ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), mounted.as_os_str()];
        if succeeds(mkfs, &make) && succeeds("mount", &mount) {
            return Some(Self(folder));
        }
        eprintln!(
            "SKIPPED: {mkfs} or mounting what it makes is not possible here; sharing blocks is not tested"
        );
        None
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[test]
fn blocks_are_shared_where_the_file_system_can() {
    for (mkfs, options) in [("mkfs.btrfs", &["-q"][..]), ("mkfs.xfs", &["-q", "-m", "reflink=1"])] {
        let Some(mounted) = Mounted::new(mkfs, options) else { continue };
        let (from, to) = (mounted.path().join("from"), mounted.path().join("folder/to"));
        let content: Vec<u8> = (0..40_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 4]).collect();
        file(&from, &content, 0o755);
        let free = || rustix::fs::statvfs(mounted.path()).map(|stat| stat.f_bavail * stat.f_frsize).unwrap();
        rustix::fs::syncfs(File::open(mounted.path()).unwrap()).unwrap();
        let before = free();
        for expected in [Expected::Signature(signature(&from)), entry(&content, true)] {
            assert_eq!(clone_file(&from, &to, expected).unwrap(), Cloned::Shared, "{mkfs}");
            rustix::fs::syncfs(File::open(mounted.path()).unwrap()).unwrap();
            assert!(before - free() < 20_000_000, "{mkfs}: the copy took space of its own");
            assert_private_copy(&from, &to);
            fs::remove_file(&to).unwrap();
        }
        // From one file system to another there is nothing to share.
        let outside = tempfile::tempdir().unwrap();
        let far = outside.path().join("to");
        assert_eq!(clone_file(&from, &far, Expected::Signature(signature(&from))).unwrap(), Cloned::Copied);
        assert_private_copy(&from, &far);
    }
}
