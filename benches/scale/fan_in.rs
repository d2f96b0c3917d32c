//! One task that reads the outputs of many others, of which one is made anew: the time of a build, beside ninja
//! with the same graph and the same commands.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::measure::{interleaved, once};
use crate::table::Row;

/// One row for a task that reads so many outputs.
pub(crate) fn row(leaves: usize, rounds: usize) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("conductor-bench-").tempdir()?;
    let (root, peer) = (folder.path().join("ours"), folder.path().join("theirs"));
    write(&root, leaves)?;
    write(&peer, leaves)?;
    let build = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conductor"));
        command.arg("-C").arg(&root).args(["build", "--progress", "quiet"]).env("CONDUCTOR_CACHE", "off");
        command
    };
    let ninja = || {
        let mut command = Command::new("ninja");
        command.arg("-C").arg(&peer);
        command
    };
    once(build())?;
    // What was made in the tick of the first build is looked at once more.
    std::thread::sleep(std::time::Duration::from_millis(100));
    once(build())?;
    let (mut count, mut theirs_count) = (0, 0);
    let mut ours = || {
        count += 1;
        edit(&root, leaves, count)?;
        Ok(build())
    };
    let mut theirs = || {
        theirs_count += 1;
        edit(&peer, leaves, theirs_count)?;
        Ok(ninja())
    };
    let name = format!("{leaves} outputs into one task");
    let is_there = Command::new("ninja").arg("--version").stdout(Stdio::null()).status().is_ok();
    if is_there {
        once(ninja())?;
        let [ours, theirs] = interleaved(rounds, [&mut ours, &mut theirs])?;
        Row::new(&name, ours).beside("ninja", theirs).target("2.0 ×").print();
    } else {
        let [ours] = interleaved(rounds, [&mut ours])?;
        Row::new(&name, ours).target("2.0 × ninja").print();
    }
    Ok(())
}

fn edit(root: &Path, leaves: usize, number: usize) -> Result<()> {
    Ok(std::fs::write(root.join(format!("src/{}", leaves / 2)), format!("edit {number}\n"))?)
}

/// The graph, as a manifest and as a file of ninja's.
fn write(root: &Path, leaves: usize) -> Result<()> {
    for folder in ["src", "out"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let mut yaml = String::from("conductor: 1\ntasks:\n");
    let mut ninja = String::from("rule cp\n  command = cp $in $out\nrule sum\n  command = cat out/* > sum\n");
    let outputs: Vec<String> = (0..leaves).map(|leaf| format!("out/{leaf}")).collect();
    for (leaf, output) in outputs.iter().enumerate() {
        std::fs::write(root.join(format!("src/{leaf}")), format!("source {leaf}\n"))?;
        let task = format!("inputs: [src/{leaf}], outputs: [{output}], run: [cp, src/{leaf}, {output}]");
        writeln!(yaml, "  t{leaf}: {{ {task} }}")?;
        writeln!(ninja, "build {output}: cp src/{leaf}")?;
    }
    let inputs = outputs.join(", ");
    writeln!(yaml, "  sum: {{ inputs: [{inputs}], outputs: [sum], run: \"cat out/* > sum\" }}")?;
    writeln!(ninja, "build sum: sum {}", outputs.join(" "))?;
    std::fs::write(root.join("conductor.yaml"), yaml)?;
    Ok(std::fs::write(root.join("build.ninja"), ninja)?)
}
