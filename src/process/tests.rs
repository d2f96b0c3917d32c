//! Processes as their callers see them: real shells, real signals.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

use super::*;

/// A process without anything that it need not have.
pub(super) fn plain<'a>(argv: Vec<OsString>, dir: &'a Path, on_line: &'a mut dyn FnMut(&[u8])) -> Spec<'a> {
    Spec {
        argv,
        dir,
        env: Vec::new(),
        stdin: Stdin::Null,
        timeout: None,
        stall: None,
        grace: Duration::ZERO,
        log: Path::new("/dev/null"),
        secrets: &[],
        owner: "T1",
        progress: None,
        confinement: None,
        on_line,
    }
}

/// A process to be run in a folder of its own.
struct Trial {
    folder: tempfile::TempDir,
    processes: Processes,
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    timeout: Option<Duration>,
    stall: Option<Duration>,
    grace: Duration,
    secrets: Vec<Vec<u8>>,
}

impl Trial {
    fn sh(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Tests run side by side: each is a run of its own.
        let run = folder.path().to_str().unwrap();
        let env = [("PATH", "/usr/bin:/bin"), (TASK_VARIABLE, "T1"), (RUN_VARIABLE, run)];
        Self {
            processes: Processes::new(),
            argv: ["/bin/sh", "-eu", "-c", script].map(Into::into).to_vec(),
            env: env.map(|(name, value)| (name.into(), value.into())).to_vec(),
            folder,
            stdin: Vec::new(),
            timeout: None,
            stall: None,
            grace: Duration::from_secs(10),
            secrets: Vec::new(),
        }
    }

    fn run(&self) -> (Ended, Vec<String>) {
        let mut lines = Vec::new();
        let ended = self.try_run(&mut |line| lines.push(String::from_utf8_lossy(line).into_owned()));
        (ended.unwrap(), lines)
    }

    fn try_run(&self, on_line: &mut dyn FnMut(&[u8])) -> Result<Ended, SpawnError> {
        self.processes.run(Spec {
            argv: self.argv.clone(),
            dir: self.folder.path(),
            env: self.env.clone(),
            stdin: if self.stdin.is_empty() { Stdin::Null } else { Stdin::Bytes(&self.stdin) },
            timeout: self.timeout,
            stall: self.stall,
            grace: self.grace,
            log: &self.log(),
            secrets: &self.secrets,
            owner: "T1",
            progress: None,
            confinement: None,
            on_line,
        })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("logs/T1.log")
    }

    /// The process whose id the script wrote to `file`; waits for it.
    fn pid(&self, file: &str) -> Pid {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let text = fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
                return Pid::from_raw(pid).unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("no process wrote {file}");
    }

    /// Not even as a zombie.
    fn assert_gone(&self, file: &str) {
        assert!(test_kill_process(self.pid(file)).is_err(), "the process in {file} is still there");
    }
}

#[test]
fn it_ends_as_its_process_ends() {
    assert_eq!(Trial::sh("exit 0").run().0.end, End::Exited(0));
    assert_eq!(Trial::sh("exit 42").run().0.end, End::Exited(42));
    assert_eq!(Trial::sh("kill -SEGV $$").run().0.end, End::Signalled(11));
}

#[test]
fn output_comes_line_by_line_in_order_and_goes_to_the_log() {
    let trial = Trial::sh("echo one; echo two >&2; printf 'three\\r\\n\\nfour'");
    let (ended, lines) = trial.run();
    assert_eq!(lines, ["one", "two", "three", "", "four"]);
    let log = fs::read(trial.log()).unwrap();
    assert_eq!(log, b"one\ntwo\nthree\r\n\nfour");
    assert_eq!((ended.bytes, ended.digest), (log.len() as u64, Digest::of(&log)));
    assert_eq!(ended.tail, log);
}

#[test]
fn the_log_is_not_made_when_nothing_is_printed_and_appended_to_otherwise() {
    let mut trial = Trial::sh("exit 3");
    trial.run();
    assert!(!trial.log().exists());
    trial.argv[3] = "echo again".into();
    trial.run();
    trial.run();
    assert_eq!(fs::read_to_string(trial.log()).unwrap(), "again\nagain\n");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let trial = Trial::sh("echo output");
    fs::write(trial.folder.path().join("logs"), "in the way").unwrap();
    let (ended, lines) = trial.run();
    assert_eq!((ended.end, lines), (End::Exited(0), vec!["output".to_owned()]));
    assert!(ended.log_error.is_some());
}

#[test]
fn the_environment_is_what_was_given_and_nothing_else() {
    let mut trial = Trial::sh("");
    trial.argv = vec!["/usr/bin/env".into()];
    trial.env.truncate(2);
    let (_, mut lines) = trial.run();
    lines.sort();
    assert_eq!(lines, ["CONDUCTOR_TASK=T1", "PATH=/usr/bin:/bin"]);
}

#[test]
fn stdin_holds_the_given_bytes_or_nothing() {
    let mut trial = Trial::sh("wc -c");
    assert_eq!(trial.run().1, ["0"]);
    trial.stdin = vec![b'x'; 300_000];
    assert_eq!(trial.run().1, ["300000"]);
}

#[test]
fn a_long_line_comes_in_pieces() {
    let (ended, lines) = Trial::sh("head -c 150000 /dev/zero | tr '\\0' x; echo end").run();
    assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [65536, 65536, 150_003 - 2 * 65536]);
    assert_eq!((ended.bytes, ended.tail.len()), (150_004, 8192));
}

#[test]
fn fifty_megabytes_of_output_are_all_counted_and_only_the_tail_is_kept() {
    let trial = Trial::sh("yes conductor | head -c 50000000");
    let mut longest = 0;
    let ended = trial.try_run(&mut |line| longest = longest.max(line.len())).unwrap();
    assert_eq!((ended.bytes, ended.tail.len(), longest), (50_000_000, 8192, 9));
    assert_eq!(fs::metadata(trial.log()).unwrap().len(), 50_000_000);
    assert!(ended.tail.capacity() < 200_000);
}

#[test]
fn secrets_leave_neither_through_log_nor_lines_nor_tail() {
    let mut trial = Trial::sh("printf hunter2; sleep 0.1; printf 'secret\\n'; echo aHVudGVyMnNlY3JldA==");
    trial.secrets = vec![b"hunter2secret".to_vec()];
    let (ended, lines) = trial.run();
    assert_eq!(lines, ["***", "***A=="]);
    assert_eq!(ended.tail, b"***\n***A==\n");
    assert_eq!(fs::read(trial.log()).unwrap(), ended.tail);
    assert_eq!(ended.digest, Digest::of(&ended.tail));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut trial = Trial::sh("");
    trial.argv = vec!["/no/such/program".into()];
    let error = trial.try_run(&mut |_| {}).unwrap_err();
    assert!(matches!(error, SpawnError::NotFound(_)));
    assert_eq!(error.to_string(), "cannot find the program /no/such/program");
    trial.argv = vec!["/etc/passwd".into()];
    assert_eq!(
        trial.try_run(&mut |_| {}).unwrap_err().to_string(),
        "cannot start /etc/passwd: Permission denied (os error 13)"
    );
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let trial = Trial::sh("");
    let error = trial.processes.run(plain(trial.argv.clone(), Path::new("/no/such/folder"), &mut |_| {}));
    assert_eq!(error.unwrap_err().to_string(), "cannot enter the folder /no/such/folder");
}

#[test]
fn a_timeout_stops_a_grandchild_in_a_session_of_its_own() {
    let mut trial = Trial::sh("setsid sh -c 'echo $$ > grandchild; exec sleep 100' & echo $$ > child; wait");
    trial.timeout = Some(Duration::from_millis(1500));
    let (ended, _) = trial.run();
    assert_eq!(ended.end, End::TimedOut);
    assert!(ended.duration < Duration::from_secs(5));
    trial.assert_gone("child");
    trial.assert_gone("grandchild");
}

#[test]
fn what_ignores_sigterm_is_killed_after_the_grace() {
    let mut trial = Trial::sh("trap '' TERM; echo $$ > child; while :; do sleep 0.05; done");
    trial.timeout = Some(Duration::from_secs(1));
    trial.grace = Duration::from_millis(300);
    let (ended, _) = trial.run();
    assert_eq!(ended.end, End::TimedOut);
    assert!(ended.duration >= Duration::from_millis(1300));
    trial.assert_gone("child");
}

#[test]
fn a_process_that_ends_well_when_told_to_stop_was_stopped_all_the_same() {
    let mut trial = Trial::sh("trap 'echo bye; exit 0' TERM; sleep 100 & wait");
    trial.timeout = Some(Duration::from_secs(1));
    let (ended, lines) = trial.run();
    assert_eq!((ended.end, lines), (End::TimedOut, vec!["bye".to_owned()]));
}

#[test]
fn a_grandchild_that_holds_the_output_open_delays_nothing_and_does_not_survive() {
    let trial =
        Trial::sh("(echo $$; exec sleep 100) & setsid sleep 100 & echo $! > in_session; echo started");
    let (ended, lines) = trial.run();
    assert_eq!(ended.end, End::Exited(0));
    assert!(lines.contains(&"started".to_owned()));
    assert!(ended.duration < Duration::from_secs(5));
    trial.assert_gone("in_session");
}

#[test]
fn what_was_left_behind_is_killed_when_it_does_not_listen() {
    let mut trial = Trial::sh(
        "setsid sh -c 'trap \"\" TERM; echo $$ > left; while :; do sleep 0.05; done' & \
         while ! [ -s left ]; do sleep 0.01; done",
    );
    trial.grace = Duration::from_millis(200);
    let (ended, _) = trial.run();
    assert_eq!(ended.end, End::Exited(0));
    assert!(ended.duration >= Duration::from_millis(200));
    trial.assert_gone("left");
}

#[test]
fn an_orphan_of_another_task_that_still_runs_is_left_alone() {
    let other = Trial::sh("sh -c 'setsid sleep 100 & echo $! > orphan'; sleep 1; kill -0 $(cat orphan)");
    thread::scope(|scope| {
        let running = scope.spawn(|| other.run().0.end);
        other.pid("orphan");
        assert_eq!(Trial::sh("setsid sleep 100 & echo").run().0.end, End::Exited(0));
        assert_eq!(running.join().unwrap(), End::Exited(0));
    });
    other.assert_gone("orphan");
}

#[test]
fn silence_is_a_stall_and_output_is_not() {
    let mut trial = Trial::sh("while :; do sleep 0.05; done");
    trial.stall = Some(Duration::from_secs(1));
    assert_eq!(trial.run().0.end, End::Stalled);
    trial.argv[3] = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done".into();
    assert_eq!(trial.run().0.end, End::Exited(0));
}

#[test]
fn progress_without_output_is_no_stall() {
    let trial = Trial::sh("sleep 1");
    let count = std::cell::Cell::new(0);
    let ended = trial.processes.run(Spec {
        argv: trial.argv.clone(),
        dir: trial.folder.path(),
        env: trial.env.clone(),
        stdin: Stdin::Null,
        timeout: None,
        stall: Some(Duration::from_millis(300)),
        grace: Duration::from_secs(10),
        log: &trial.log(),
        secrets: &[],
        owner: "T1",
        progress: Some(&|| count.replace(count.get() + 1)),
        confinement: None,
        on_line: &mut |_| {},
    });
    assert_eq!(ended.unwrap().end, End::Exited(0));
    assert!(count.get() < 8, "asked {} times", count.get());
}

#[test]
fn stop_all_stops_everything_and_nothing_starts_after_it() {
    let trial = Trial::sh("echo $$ > child; setsid sleep 100 & sleep 100");
    thread::scope(|scope| {
        let running = scope.spawn(|| trial.run().0.end);
        trial.pid("child");
        trial.processes.stop_all(false);
        assert_eq!(running.join().unwrap(), End::Stopped);
    });
    trial.assert_gone("child");
    assert!(matches!(trial.try_run(&mut |_| {}), Err(SpawnError::AlreadyStopping)));
}

#[test]
fn a_second_stop_does_not_wait_for_the_grace() {
    let trial = Trial::sh("trap '' TERM; echo $$ > child; while :; do sleep 0.05; done");
    thread::scope(|scope| {
        let running = scope.spawn(|| trial.run().0);
        trial.pid("child");
        trial.processes.stop_all(false);
        thread::sleep(Duration::from_millis(100));
        trial.processes.stop_all(true);
        let ended = running.join().unwrap();
        assert_eq!(ended.end, End::Stopped);
        assert!(ended.duration < Duration::from_secs(5));
    });
    trial.assert_gone("child");
}

#[test]
fn cancel_stops_what_its_owner_runs() {
    let trial = Trial::sh("echo $$ > child; sleep 100");
    assert!(!trial.processes.cancel("T1"));
    thread::scope(|scope| {
        let running = scope.spawn(|| trial.run().0.end);
        trial.pid("child");
        assert!(!trial.processes.cancel("T2"));
        assert!(trial.processes.cancel("T1"));
        assert_eq!(running.join().unwrap(), End::Cancelled);
    });
    assert_eq!(Trial { argv: vec!["/bin/true".into()], ..trial }.run().0.end, End::Exited(0));
}

#[test]
fn what_a_killed_conductor_left_is_found_by_its_run_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().to_str().unwrap();
    let mut left =
        std::process::Command::new("/bin/sleep").arg("100").env(RUN_VARIABLE, run).spawn().unwrap();
    // It is a child of this test, so it stays a zombie until it is waited for.
    assert_eq!(reap_strays(run), 1);
    assert!(!left.wait().unwrap().success());
    assert_eq!(reap_strays(run), 0);
}
