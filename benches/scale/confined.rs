//! What confining a process costs: `/bin/true` many times over, one after the other, with and without.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use conductor::process::confine::Support;
use conductor::process::{Confinement, End, Processes, Spec, Stdin};

use crate::Result;
use crate::measure::interleaved;
use crate::table::Row;

/// What is taken from the processes.
const PLAIN: &str = "plain";
const FILES: &str = "files";
const NETWORK: &str = "network";

/// One row for each kind of confinement.
pub(crate) fn rows(count: usize, rounds: usize) -> Result<()> {
    let support = Support::with_helper(Path::new(env!("CARGO_BIN_EXE_conductor")));
    println!("confined by {:?}, network off by {:?}", support.files, support.network);
    let folder = tempfile::Builder::new().prefix("conductor-bench-").tempdir()?;
    std::fs::create_dir_all(folder.path().join("root/inside"))?;
    let spawn = |kind: &str| -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("spawn").arg(kind).arg(count.to_string()).arg(folder.path());
        Ok(command)
    };
    let [files, network, plain] =
        interleaved(rounds, [&mut || spawn(FILES), &mut || spawn(NETWORK), &mut || spawn(PLAIN)])?;
    Row::new(&format!("{count} × true, confined"), files).beside("unconfined", plain.clone()).print();
    Row::new("  and without a network", network).beside("unconfined", plain).print();
    Ok(())
}

/// `KIND COUNT FOLDER`: starts COUNT processes, confined as KIND says.
pub(crate) fn spawn(args: &[OsString]) -> Result<()> {
    let [kind, count, folder] = args else { return Err("spawn KIND COUNT FOLDER".into()) };
    let root = Path::new(folder).join("root");
    let confinement = Confinement {
        write: vec![root.join("inside")],
        read: Vec::new(),
        hide: vec![root.clone()],
        network: kind != NETWORK,
        support: Support::with_helper(Path::new(env!("CARGO_BIN_EXE_conductor"))),
    };
    let processes = Processes::new();
    for _ in 0..count.to_str().ok_or("COUNT")?.parse()? {
        let ended = processes.run(Spec {
            argv: vec!["/bin/true".into()],
            dir: &root,
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            stdin: Stdin::Null,
            timeout: None,
            stall: None,
            grace: Duration::from_secs(1),
            log: Path::new("/dev/null"),
            secrets: &[],
            owner: "T1",
            progress: None,
            confinement: Some(&confinement).filter(|_| kind != PLAIN),
            on_line: &mut |_| {},
        })?;
        if ended.end != End::Exited(0) {
            return Err(format!("{:?}", ended.end).into());
        }
    }
    Ok(())
}
