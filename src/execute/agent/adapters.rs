//! The agents of one build: their adapters, and what they have in common. Starts none of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::ledger::Ledger;
use crate::model::{Adapter, WorkspacePath};

/// From these agents' programs take settings, whichever a task uses: the next task may use another one.
const ALWAYS: [&str; 12] = [
    ".claude",
    ".mcp.json",
    ".codex",
    ".gemini",
    ".qwen",
    ".opencode",
    "opencode.json",
    ".github",
    ".pi",
    ".copilot",
    ".aider.conf.yml",
    ".gitmodules",
];

/// The agents of one build: their adapters, and what they have in common.
#[derive(Default)]
pub struct Agents {
    adapters: BTreeMap<String, Adapter>,
    /// What they spend.
    pub ledger: Ledger,
    /// What the programs say of themselves, asked once.
    versions: Mutex<BTreeMap<String, Option<String>>>,
}

impl Agents {
    /// Those of a manifest.
    pub fn new(adapters: &[Adapter], ledger: Ledger) -> Self {
        let named = adapters.iter().map(|adapter| (adapter.name.clone(), adapter.clone()));
        Self { adapters: named.collect(), ledger, versions: Mutex::default() }
    }

    /// The adapter of that name.
    pub fn adapter(&self, name: &str) -> Option<&Adapter> {
        self.adapters.get(name)
    }

    /// The part of `path` that makes it one from which an agent's program takes settings.
    pub(super) fn protected<'p>(&self, path: &'p WorkspacePath) -> Option<&'p [u8]> {
        let protect: Vec<&str> =
            self.adapters.values().flat_map(|adapter| &adapter.protect).map(String::as_str).collect();
        path.components().find(|part| ALWAYS.iter().chain(&protect).any(|name| name.as_bytes() == *part))
    }

    pub(super) fn version(&self, adapter: &Adapter, ask: impl FnOnce() -> Option<String>) -> Option<String> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.entry(adapter.name.clone()).or_insert_with(ask).clone()
    }
}
