//! What readers know beside the value that they read: the whole manifest, the file, the task.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;

use super::adapter;
use super::include::File;
use super::names::Names;
use super::problems::Problems;
use super::tree::Node;
use crate::model::{Adapter, At, Diagnostic};

/// How much text and how many list items (64 bytes each) variables, defaults and matrices may expand
/// to: a small file must not make a plan that fills the memory.
const MAX_EXPANSION: usize = 512 << 20;

/// What all readers share.
pub(super) struct Shared<'a> {
    pub(super) problems: &'a Problems,
    pub(super) names: Names,
    /// conductor's own environment.
    pub(super) caller: &'a dyn Fn(&str) -> Option<String>,
    /// What was asked of it.
    pub(super) looked_up: RefCell<BTreeMap<String, Option<String>>>,
    /// All pools by their whole names: how many tasks at once.
    pub(super) pools: RefCell<BTreeMap<String, u32>>,
    /// Adapters that the manifest declares, and built-in ones that its tasks use.
    pub(super) adapters: RefCell<BTreeMap<String, Adapter>>,
    /// The built-in ones, which are read when the first of them is asked for.
    built_in: OnceCell<BTreeMap<String, Adapter>>,
    /// How many regular expressions were costly to check.
    pub(super) costly_regexes: Cell<usize>,
    /// What is left of [`MAX_EXPANSION`].
    expansion: Cell<usize>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(problems: &'a Problems, caller: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            problems,
            names: Names::default(),
            caller,
            looked_up: RefCell::default(),
            pools: RefCell::default(),
            adapters: RefCell::default(),
            built_in: OnceCell::new(),
            costly_regexes: Cell::new(0),
            expansion: Cell::new(MAX_EXPANSION),
        }
    }

    /// The built-in adapters.
    pub(super) fn built_in(&self) -> &BTreeMap<String, Adapter> {
        self.built_in.get_or_init(adapter::built_in)
    }

    /// The adapter that a task names.
    pub(super) fn adapter(&self, name: &str) -> Option<Adapter> {
        if let Some(known) = self.adapters.borrow().get(name) {
            return Some(known.clone());
        }
        let adapter = self.built_in().get(name)?.clone();
        self.adapters.borrow_mut().insert(name.to_owned(), adapter.clone());
        Some(adapter)
    }

    /// Counts `bytes` of expanded text; false when the limit is reached.
    pub(super) fn spend(&self, bytes: usize, at: At) -> bool {
        let left = self.expansion.get();
        if left < bytes {
            if left > 0 {
                self.problems.push(
                    Diagnostic::error(
                        "manifest::expansion_too_large",
                        "variables, defaults and matrices expand to more than 512 MiB",
                    )
                    .label(at, "the limit is reached here"),
                );
            }
            self.expansion.set(0);
            return false;
        }
        self.expansion.set(left - bytes);
        true
    }
}

/// A variable of `vars`.
pub(super) struct Var {
    pub(super) value: String,
    pub(super) at: At,
    pub(super) used: Cell<bool>,
}

/// A file with what holds for all of its tasks.
pub(super) struct Scope<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) root: &'a Node<'a>,
    pub(super) vars: BTreeMap<String, Var>,
}

/// What `${task.…}` stands for.
#[derive(Clone, Default)]
pub(super) struct Facts {
    pub(super) id: String,
    pub(super) title: Option<String>,
    pub(super) role: Option<String>,
    pub(super) group: Option<String>,
}
