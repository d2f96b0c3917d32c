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

/// An id for a run that begins now: local time and process id. Two of one process are never the same; the
/// second of one second bears the next one.
pub fn new_run_id() -> RunId {
    static LAST: AtomicI64 = AtomicI64::new(i64::MIN);
    let now = jiff::Zoned::now();
    let second = now.timestamp().as_second();
    let before = LAST
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(second.max(last.saturating_add(1))));
    let ahead = before.map_or(0, |last| (last.saturating_add(1) - second).max(0));
    let time = now.saturating_add(jiff::SignedDuration::from_secs(ahead));
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
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        // No task's file name begins with a dot.
        let name = match request {
            CancelRequest::Task(task) => task.file_name(),
            CancelRequest::All => ".all".to_owned(),
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
    let mut requests: Vec<_> = entries
        .filter_map(|entry| {
            let request = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
            fs::remove_file(entry.path()).ok()?;
            Some(request)
        })
        .collect();
    requests.sort();
    requests
}

/// The runs whose folders are there, newest first.
pub fn list_runs(dir: &Path) -> Vec<RunId> {
    let entries = fs::read_dir(dir.join("runs")).into_iter().flatten().flatten();
    let mut runs: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok().map(RunId))
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
