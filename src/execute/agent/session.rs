//! The work of an agent on one task, over all runs of its program: kept in `.conductor/sessions/TASK` while it is not
//! done, so that the next attempt, in this build or a later one, goes on where the last one stopped.
//!
//! It is bound to the action's key. Another key is other work: then what was kept goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::RunContext;
use super::super::exec_root::Suspended;
use super::super::exec_root::remove_all;
use crate::agent::{Evidence, SessionTotals};
use crate::incremental::Assignment;
use crate::model::{
    ActionKey, AgentEnd, AgentResult, AgentRun, Digest, Entry, EntryKind, Isolation, RunId, TaskId, Usage,
    Work,
};
use crate::store;

/// What is kept between two runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::execute) struct Session {
    key: ActionKey,
    adapter: String,
    isolation: Isolation,
    /// The build that worked on it last, and what was spent on it there.
    build: RunId,
    pub(super) spent: Usage,
    /// The program's session, as it named it itself; none where the next run opens one.
    pub(super) id: Option<String>,
    /// What the program has counted in that session so far.
    pub(super) totals: SessionTotals,
    /// All runs so far.
    pub(super) runs: Vec<AgentRun>,
    /// What the next run is shown.
    pub(super) evidence: Option<Evidence>,
    /// The last refusal, but for what changes each time.
    pub(super) signature: Option<Digest>,
    /// The answer of the last run.
    pub(super) text: Option<String>,
    /// What the program says is its version.
    pub(super) version: Option<String>,
    /// The private folder that was left as it was.
    pub(super) suspended: Option<Suspended>,
    /// What it has changed so far, for an agent that begins without knowing it.
    pub(super) diff: String,
    /// How many runs were told of.
    pub(super) told: usize,
    /// How the last run ended, as long as nothing came of that.
    #[serde(skip)]
    pub(super) ended: Option<AgentEnd>,
    /// When the provider's limit is over, where the last run said so.
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
    /// Where all of this is kept.
    #[serde(skip)]
    folder: PathBuf,
}

impl Session {
    /// Of a task that an agent does; none for others.
    pub(in crate::execute) fn of(context: &RunContext, assignment: &Assignment) -> Option<Self> {
        match &assignment.task.work {
            Work::Agent(agent) => Some(Self::open(context, assignment, &agent.adapter)),
            _ => None,
        }
    }

    /// What was kept of this very work.
    pub(super) fn kept(folder: &Path, assignment: &Assignment) -> Option<Self> {
        let Work::Agent(agent) = &assignment.task.work else { return None };
        read(&place(folder, &assignment.task.id)).filter(|kept| {
            kept.key == assignment.key
                && kept.adapter == agent.adapter
                && kept.isolation == assignment.isolation
        })
    }

    /// What was kept of the task's work; where that was other work, a beginning.
    fn open(context: &RunContext, assignment: &Assignment, adapter: &str) -> Self {
        let folder = place(&context.folder, &assignment.task.id);
        let Some(mut session) = Self::kept(&context.folder, assignment) else {
            // What cannot be removed is written over.
            let _ = remove_all(&folder);
            return Self {
                key: assignment.key,
                adapter: adapter.to_owned(),
                isolation: assignment.isolation,
                build: context.run.clone(),
                spent: Usage::default(),
                id: None,
                totals: SessionTotals::default(),
                runs: Vec::new(),
                evidence: None,
                signature: None,
                text: None,
                version: None,
                suspended: None,
                diff: String::new(),
                told: 0,
                ended: None,
                retry_after: None,
                folder,
            };
        };
        session.folder = folder;
        if session.build != context.run {
            // Whoever builds again wants it to go on: limits count anew.
            session.build = context.run.clone();
            session.spent = Usage::default();
        }
        session
    }

    /// The adapter's name.
    pub(super) fn adapter(&self) -> &str {
        &self.adapter
    }

    /// The private folder to go on in, where there is one.
    pub(in crate::execute) fn take_suspended(&mut self) -> Option<Suspended> {
        self.suspended.take()
    }

    /// The private folder is gone, and with it what the program's session speaks of.
    pub(in crate::execute) fn lose_folder(&mut self) {
        self.forget_session();
        self.evidence = None;
        self.signature = None;
    }

    /// The next run opens a session of its own.
    pub(super) fn forget_session(&mut self) {
        self.id = None;
        self.totals = SessionTotals::default();
    }

    /// HOME, for a private one.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// A folder for what the program is handed and hands back.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(super) fn transcript(&self) -> PathBuf {
        self.folder.join(TRANSCRIPT)
    }

    /// Keeps it for the next attempt. What cannot be kept begins anew.
    pub(super) fn keep(&self) {
        let kept = fs::create_dir_all(&self.folder).is_ok()
            && store::write_frame(&file(&self.folder), VERSION, self).is_ok();
        if !kept {
            let _ = remove_all(&self.folder);
        }
    }

    /// Nothing of it is needed any more. The transcript stays in the run's folder, unless a result holds it.
    pub(in crate::execute) fn close(self, keep_transcript: Option<&Path>) {
        if let Some(to) = keep_transcript {
            let _ = fs::create_dir_all(to.parent().unwrap_or(to));
            let _ = fs::rename(self.transcript(), to);
        }
        // What cannot be removed now is removed when the task runs again, or by `clean`.
        let _ = remove_all(&self.folder);
        let _ = fs::remove_dir(self.folder.parent().unwrap_or(&self.folder));
    }

    /// What a record keeps of it; the transcript goes to the objects.
    pub(super) fn result(&self, context: &RunContext, model: Option<String>) -> AgentResult {
        let mut usage = Usage::default();
        self.runs.iter().for_each(|run| usage.add(&run.usage));
        let transcript = fs::read(self.transcript()).ok().and_then(|bytes| {
            let entry = Entry { digest: Digest::of(&bytes), ..Entry::bare(EntryKind::File) };
            context.objects.put(&self.transcript(), &entry).ok().map(|()| entry)
        });
        AgentResult {
            adapter: self.adapter.clone(),
            version: self.version.clone(),
            model,
            runs: self.runs.clone(),
            usage,
            text: self.text.clone(),
            transcript,
        }
    }
}

const TRANSCRIPT: &str = "transcript";

/// How what is kept is encoded.
const VERSION: u8 = 1;

fn place(folder: &Path, task: &TaskId) -> PathBuf {
    folder.join("sessions").join(task.file_name())
}

fn file(folder: &Path) -> PathBuf {
    folder.join("session")
}

fn read(folder: &Path) -> Option<Session> {
    store::read_frame(&file(folder), VERSION)
}

/// What a person is told of work that is not done.
pub struct Unfinished {
    /// Whose result is wanted.
    pub key: ActionKey,
    /// All runs so far.
    pub runs: Vec<AgentRun>,
    /// What was told and printed.
    pub transcript: PathBuf,
}

/// The work of an agent on a task that waits to be gone on with. `folder` is `.conductor`.
pub fn unfinished(folder: &Path, task: &TaskId) -> Option<Unfinished> {
    let place = place(folder, task);
    let session = read(&place)?;
    Some(Unfinished { key: session.key, runs: session.runs, transcript: place.join(TRANSCRIPT) })
}
