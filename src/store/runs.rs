//! The folders of runs, `.conductor/runs/<id>/`: events, logs, and requests to cancel that come from another
//! terminal. Knows nothing of what is in the logs or who obeys the requests.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::{RunId, TaskId};

use super::{Error, durable, failed};

/// Now, in local time.
pub fn local_now() -> jiff::Zoned {
    // To learn the name of the local zone jiff reads the folders of all zones; nobody asks for the name.
    let file = || jiff::tz::TimeZone::tzif("local", &fs::read("/etc/localtime").ok()?).ok();
    let zone = if std::env::var_os("TZ").is_none() { file() } else { None };
    jiff::Timestamp::now().to_zoned(zone.unwrap_or_else(jiff::tz::TimeZone::system))
}

/// An id for a run that begins now: local time and process id. Two of one process are never the same; the
/// second of one second bears the next one.
pub fn new_run_id() -> RunId {
    static LAST: AtomicI64 = AtomicI64::new(i64::MIN);
    let now = local_now();
    let next = |last: i64| now.timestamp().as_second().max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    let second = jiff::Timestamp::from_second(last.map_or_else(next, next));
    let time = second.map_or(now.clone(), |second| second.to_zoned(now.time_zone().clone()));
    RunId(format!("{}-{}", time.strftime("%Y%m%d-%H%M%S"), std::process::id()))
}

/// What another terminal asks a run to stop.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CancelRequest {
    /// One task.
    Task(TaskId),
    /// The whole run.
    All,
}

/// The folder of one run.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// When the folder of requests was last changed, where it was read since.
    polled: Option<SystemTime>,
}

impl RunDir {
    /// Makes the folder of a run that begins, in the folder `dir` (`.conductor`).
    pub fn create(dir: &Path, run: &RunId) -> Result<Self, Error> {
        let path = dir.join("runs").join(&run.0);
        let logs = path.join("logs");
        fs::create_dir_all(dir.join("runs")).map_err(failed("create", &path))?;
        fs::create_dir(&path).map_err(failed("create", &path))?;
        fs::create_dir(&logs).map_err(failed("create", &logs))?;
        Ok(Self { path, polled: None })
    }

    /// The folder of a run, which may be over, and may be gone.
    pub fn of(dir: &Path, run: &RunId) -> Self {
        Self { path: dir.join("runs").join(&run.0), polled: None }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of its events.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// The file of what a task printed.
    pub fn log(&self, task: &TaskId) -> PathBuf {
        self.path.join("logs").join(format!("{}.log", task.file_name()))
    }

    /// Asks the run to stop something. It looks several times a second.
    pub fn request_cancel(&self, request: &CancelRequest) -> Result<(), Error> {
        let folder = self.path.join("cancel");
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("create", &folder)(error));
            }
            _ => {}
        }
        // A `%` in a task's file name is followed by two hexadecimal digits.
        let name = match request {
            CancelRequest::Task(task) => task.file_name(),
            CancelRequest::All => "%all".to_owned(),
        };
        let text =
            serde_json::to_vec(request).map_err(io::Error::other).map_err(failed("encode", &folder))?;
        durable::replace(&folder.join(name), |file| file.write_all(&text))
    }

    /// Takes the requests that came since the last time. Costs one `stat` while there are none.
    pub fn poll_cancel(&mut self) -> Vec<CancelRequest> {
        let folder = self.path.join("cancel");
        let Ok(changed) = fs::metadata(&folder).and_then(|metadata| metadata.modified()) else {
            return Vec::new();
        };
        if self.polled == Some(changed) {
            return Vec::new();
        }
        // A folder that changed this very moment may change again without its time changing.
        let settled = changed.elapsed().is_ok_and(|age| age > Duration::from_millis(100));
        self.polled = settled.then_some(changed);
        take_requests(&folder)
    }
}

fn take_requests(folder: &Path) -> Vec<CancelRequest> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // A name that begins with a dot is one that is still being written.
    let mut requests: Vec<_> = entries
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|entry| {
            let request = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
            fs::remove_file(entry.path()).ok()?;
            Some(request)
        })
        .collect();
    requests.sort();
    requests
}

/// `20261122-140501-4711`: only such folders are conductor's to list and to remove.
fn is_run_id(name: &str) -> bool {
    let parts: Vec<_> = name.split('-').collect();
    let digits =
        |part: &str, length: usize| part.len() >= length && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts[..], [day, time, pid] if digits(day, 8) && digits(time, 6) && digits(pid, 1))
}

/// The runs whose folders are there, newest first.
pub fn list_runs(dir: &Path) -> Vec<RunId> {
    let entries = fs::read_dir(dir.join("runs")).into_iter().flatten().flatten();
    let mut runs: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_run_id(name))
        .map(RunId)
        .collect();
    runs.sort_by(|a, b| b.cmp(a));
    runs
}

/// Removes the folders of runs that are neither among the newest `keep` nor younger than `age`.
pub fn prune(dir: &Path, keep: usize, age: Duration) -> Result<(), Error> {
    for run in list_runs(dir).into_iter().skip(keep) {
        let path = dir.join("runs").join(&run.0);
        let modified =
            fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(failed("read", &path))?;
        if modified.elapsed().is_ok_and(|old| old > age) {
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_runs_are_distinct_and_in_order() {
        let ids: Vec<_> = (0..5).map(|_| new_run_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert!(ids.iter().all(|id| is_run_id(&id.0)), "{ids:?}");
    }

    #[test]
    fn local_time_is_what_the_machine_says() {
        let (ours, theirs) = (local_now(), jiff::Zoned::now());
        assert_eq!(ours.offset(), theirs.offset());
        assert!(ours.duration_until(&theirs).as_secs().abs() < 3600, "{ours} {theirs}");
    }

    #[test]
    fn a_run_takes_each_request_once() {
        let dir = tempfile::tempdir().unwrap();
        let run = new_run_id();
        let mut here = RunDir::create(dir.path(), &run).unwrap();
        let elsewhere = RunDir::of(dir.path(), &run);
        assert_eq!(here.poll_cancel(), []);
        let one = CancelRequest::Task(TaskId::new("T1[os=a]"));
        for request in [&CancelRequest::All, &one, &one] {
            elsewhere.request_cancel(request).unwrap();
        }
        assert_eq!(here.poll_cancel(), [one, CancelRequest::All]);
        assert_eq!(here.poll_cancel(), []);
        let named_all = CancelRequest::Task(TaskId::new("%all"));
        elsewhere.request_cancel(&named_all).unwrap();
        assert_eq!(here.poll_cancel(), [named_all]);
    }

    #[test]
    fn a_request_is_seen_however_soon_it_follows_the_last_look() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(dir.path(), &new_run_id()).unwrap();
        for _ in 0..200 {
            run.request_cancel(&CancelRequest::All).unwrap();
            assert_eq!(run.poll_cancel(), [CancelRequest::All]);
        }
    }

    #[test]
    fn a_request_to_a_run_that_is_gone_is_an_error_and_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let error = RunDir::of(dir.path(), &new_run_id()).request_cancel(&CancelRequest::All).unwrap_err();
        assert!(error.to_string().contains("cancel"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn pruning_keeps_the_newest_the_young_and_what_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        for (name, is_old) in [
            ("20260101-000000-1", true),
            ("20260102-000000-1", false),
            ("20260103-000000-1", true),
            ("notes", true),
        ] {
            let run = dir.path().join("runs").join(name);
            fs::create_dir_all(run.join("logs")).unwrap();
            if is_old {
                fs::File::open(&run).unwrap().set_modified(old).unwrap();
            }
        }
        prune(dir.path(), 1, Duration::from_secs(60)).unwrap();
        let left: Vec<_> = list_runs(dir.path()).into_iter().map(|run| run.0).collect();
        assert_eq!(left, ["20260103-000000-1", "20260102-000000-1"]);
        assert!(dir.path().join("runs/notes").exists());
    }
}
