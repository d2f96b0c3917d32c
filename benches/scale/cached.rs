//! What the cache costs: results of many files kept, beside the same build without a cache, and restored, beside
//! `cp -r` of the same files.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::measure::{interleaved, once};
use crate::table::Row;

/// Bytes of each file.
const SIZE: usize = 2000;

/// Two rows for results of so many files.
pub(crate) fn rows(files: usize, rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (root, cache) = (folder.path().join("work"), folder.path().join("cache"));
    write(&root, files)?;
    let build = |cached: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conductor"));
        command.arg("-C").arg(&root).arg("build").args(args);
        command.env("CONDUCTOR_CACHE", cached).env("CONDUCTOR_CACHE_DIR", &cache);
        command
    };
    let mut copy = || {
        let _ = std::fs::remove_dir_all(root.join("copy"));
        let mut command = Command::new("cp");
        command.args(["-r", "src", "copy"]).current_dir(&root);
        Ok(command)
    };
    let mut kept = || {
        let _ = std::fs::remove_dir_all(&cache);
        Ok(build("rw", &["--force"]))
    };
    once(build("off", &[]))?;
    let [with, without, copied] =
        interleaved(rounds, [&mut kept, &mut || Ok(build("off", &["--force"])), &mut copy])?;
    Row::new(&format!("{files} files: made and kept"), with.clone()).beside("made", without).print();
    Row::new("  the same", with).beside("cp -r", copied).print();
    let mut restored = || {
        std::fs::remove_dir_all(root.join("out"))?;
        Ok(build("rw", &[]))
    };
    let [ours, copied] = interleaved(rounds, [&mut restored, &mut copy])?;
    Row::new("  restored", ours).beside("cp -r", copied).print();
    Ok(())
}

/// A task that copies a folder of files.
fn write(root: &Path, files: usize) -> Result<()> {
    for number in 0..files {
        let folder = root.join(format!("src/{:03}", number / 100));
        std::fs::create_dir_all(&folder)?;
        let mut text = String::new();
        while text.len() < SIZE {
            let _ = writeln!(text, "file {number}, {}", text.len() * (number + 1));
        }
        std::fs::write(folder.join(format!("{number:06}.txt")), text)?;
    }
    let manifest = "conductor: 1\ntasks: { A: { inputs: [src/], outputs: [out/], run: cp -r src/. out } }\n";
    Ok(std::fs::write(root.join("conductor.yaml"), manifest)?)
}
