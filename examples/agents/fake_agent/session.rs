//! Sessions, as the programs keep them in their HOME: what was used in them so far.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::call::{Call, Cli};
use crate::script::Usage;

/// A session.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) totals: Totals,
}

/// What was used in it.
#[derive(Serialize, Deserialize, Default, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) usd: f64,
}

impl Session {
    /// The one that the call goes on with, or a new one. None where the one to go on with is not there.
    pub(crate) fn open(call: &Call, task: &str, number: usize) -> io::Result<Option<Self>> {
        if let Some(id) = &call.resume {
            let Ok(kept) = std::fs::read_to_string(place(id)) else { return Ok(None) };
            return Ok(Some(Self { id: id.clone(), totals: serde_json::from_str(&kept)? }));
        }
        let id = call.new.clone().unwrap_or_else(|| match call.cli {
            Cli::Opencode => format!("ses_{task}{number}"),
            _ => format!("session-{task}-{number}"),
        });
        Ok(Some(Self { id, totals: Totals::default() }))
    }

    /// Counts what a run used.
    pub(crate) fn spend(&mut self, usage: Usage) {
        self.totals.input += usage.input;
        self.totals.output += usage.output;
        self.totals.usd += usage.usd;
    }

    /// Keeps it for the next run.
    pub(crate) fn keep(&self) -> io::Result<()> {
        let place = place(&self.id);
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(place, serde_json::to_string(&self.totals)?)
    }
}

fn place(id: &str) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    home.join(".fake_sessions").join(id)
}
