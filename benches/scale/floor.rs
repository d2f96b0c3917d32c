//! What cannot be done with less: the floors, each run as a process of its own.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::Result;

const THREADS: usize = 2;
const CHUNK: usize = 512;

/// `ROOT LIST [FROM TO]…`: looks once at every file that LIST names, on two threads, then copies each FROM
/// to its TO.
pub(crate) fn look(args: &[OsString]) -> Result<()> {
    let [root, list, copies @ ..] = args else { return Err("floor ROOT LIST [FROM TO]...".into()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let text = std::fs::read(list)?;
    let paths: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|path| !path.is_empty()).collect();
    let (next, missing) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let look = || {
        while let Some(chunk) = paths.chunks(CHUNK).nth(next.fetch_add(1, Ordering::Relaxed)) {
            let absent = chunk.iter().filter(|path| {
                rustix::fs::statat(&root, std::ffi::OsStr::from_bytes(path), AtFlags::SYMLINK_NOFOLLOW)
                    .is_err()
            });
            missing.fetch_add(absent.count(), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(look);
        }
        look();
    });
    for pair in copies.chunks(2) {
        if !Command::new("/bin/cp").args(pair).status()?.success() {
            return Err("cp failed".into());
        }
    }
    if missing.into_inner() > 0 { Err("the list names files that are not there".into()) } else { Ok(()) }
}

/// `FILE`: reads YAML into a tree of values and nothing else.
pub(crate) fn parse(args: &[OsString]) -> Result<()> {
    let text = std::fs::read_to_string(args.first().ok_or("parse FILE")?)?;
    let value: serde_yaml::Value = serde_yaml::from_str(&text)?;
    // The process ends here; taking the tree apart is nobody's floor.
    std::mem::forget(value);
    Ok(())
}
