//! The inputs of checks. They are hashed right before the checks run, in the place where the checks read them, and
//! compared again when the checks have ended.
//!
//! Invariant: the digests in the validation's key are those of the bytes that the checks could read.

use std::sync::Arc;

use super::prepare::IsolatedDir;
use crate::execute::run_context::RunContext;
use crate::execute::staging::StagingError;
use crate::incremental::{Assignment, Guard, Listing, Moved, Seen, Snapshot};
use crate::model::{Entry, Input, PathIndex, Validation, WorkspacePath};
use crate::workspace::{Globs, Observed};

/// How often inputs that do not stand still are looked at before the checks run.
const PATIENCE: u32 = 5;

/// See the module.
pub(in crate::execute) struct CheckInputs {
    /// The checks and their inputs, as the checks could read them.
    pub(in crate::execute) validation: Validation,
    held: Held,
}

/// How the inputs are kept from changing unnoticed while checks run.
enum Held {
    /// Nothing can change them: there are none, or they are copies in a private folder.
    Copied,
    /// Files of the tree, under guard.
    Guarded(Guard),
    /// They did not stand still to begin with.
    Unsteady(Vec<Moved>),
}

impl CheckInputs {
    /// Of checks that run in the tree, on `outputs`: a check must judge the bytes that are recorded.
    pub(in crate::execute) fn in_tree(
        context: &RunContext,
        assignment: &Assignment,
        outputs: &[WorkspacePath],
    ) -> Self {
        if assignment.task.validate.is_empty() {
            return Self { validation: assignment.validation.clone(), held: Held::Copied };
        }
        let mut patience = PATIENCE;
        loop {
            let (validation, mut snapshot, mut moved) = look(context, assignment);
            snapshot.unwritten = outputs.to_vec();
            snapshot.unwritten.sort();
            let snapshot = Arc::new(snapshot);
            if moved.is_empty() {
                match snapshot.guard(&context.tree, &context.witness) {
                    Ok(guard) => return Self { validation, held: Held::Guarded(guard) },
                    Err(changed) => moved = changed,
                }
            }
            patience -= 1;
            if patience == 0 {
                return Self { validation, held: Held::Unsteady(moved) };
            }
        }
    }

    /// Of the checks before the command, which look at the tree. They are no part of any key.
    pub(in crate::execute) fn required(context: &RunContext, assignment: &Assignment) -> Self {
        let (mut patience, validation) = (PATIENCE, Validation::default());
        loop {
            let snapshot = Arc::new(required(context, assignment));
            let held = match snapshot.guard(&context.tree, &context.witness) {
                Ok(guard) => Held::Guarded(guard),
                Err(_) if patience > 0 => {
                    patience -= 1;
                    continue;
                }
                Err(moved) => Held::Unsteady(moved),
            };
            return Self { validation, held };
        }
    }

    /// Of checks that run in a private folder, into which the inputs are brought now.
    pub(in crate::execute) fn bring(
        context: &RunContext,
        isolated: &IsolatedDir,
        assignment: &Assignment,
    ) -> Result<Self, StagingError> {
        let validation = isolated.bring_check_inputs(context, assignment)?;
        Ok(Self { validation, held: Held::Copied })
    }

    /// Inputs that moved while the checks ran. If there are any, the checks have accepted nothing.
    pub(in crate::execute) fn moved(&self, context: &RunContext) -> Vec<Moved> {
        match &self.held {
            Held::Copied => Vec::new(),
            Held::Guarded(guard) => guard.changes(&context.tree),
            Held::Unsteady(moved) => moved.clone(),
        }
    }
}

/// The inputs as they are in the tree; beside them those that a task made and that are not as it made them.
fn look(context: &RunContext, assignment: &Assignment) -> (Validation, Snapshot, Vec<Moved>) {
    let declared = &assignment.validation;
    let paths: Vec<_> = declared.inputs.iter().map(|input| &input.path).collect();
    let seen = context.tree.observe_all(&paths);
    // A file that came since the key was made is none of the validation's inputs: the next build sees that it is due.
    let listings = assignment.check_listings.iter().map(|listing| listing.taken_now(&context.tree));
    let mut snapshot = Snapshot { listings: listings.collect(), ..Snapshot::default() };
    let (mut inputs, mut moved) = (Vec::with_capacity(seen.len()), Vec::new());
    for (input, Observed { signature, entry, racy }) in declared.inputs.iter().zip(seen) {
        let is_made = input.from.is_some();
        if is_made && input.entry != entry {
            moved.push(Moved::File(input.path.clone()));
        }
        let entry = if is_made { input.entry } else { entry };
        if racy {
            snapshot.racy.push((input.path.clone(), entry));
        }
        snapshot.files.push(Seen { path: input.path.clone(), signature, entry });
        inputs.push(Input { entry, ..input.clone() });
    }
    (Validation { inputs, ..declared.clone() }, snapshot, moved)
}

/// The inputs of the checks before the command, as they are in the tree.
fn required(context: &RunContext, assignment: &Assignment) -> Snapshot {
    let (tree, task) = (&context.tree, &assignment.task);
    let mut snapshot = Snapshot::default();
    for check in task.require.iter().filter(|check| !check.inputs.is_empty()) {
        let Ok(globs) = Globs::new(&check.inputs) else { continue };
        let mut bases = Vec::new();
        for pattern in check.inputs.iter().filter(|pattern| !pattern.negated) {
            match &pattern.literal {
                Some(path) if !tree.is_folder(path) => {
                    let Observed { signature, entry, racy } = tree.observe(path);
                    snapshot.racy.extend(racy.then(|| (path.clone(), entry)));
                    snapshot.files.push(Seen { path: path.clone(), signature, entry });
                }
                _ => bases.push(pattern.base()),
            }
        }
        let own = Arc::new(PathIndex::set(task.outputs.iter().map(|output| &output.path)));
        let (globs, made) = (Arc::new(globs), Arc::default());
        let (through, behind, named, found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let listing = Listing { globs, bases, through, behind, named, found, made, own };
        snapshot.listings.push(listing.taken_now(tree));
    }
    snapshot.files.sort_by(|a, b| a.path.cmp(&b.path));
    snapshot
}

impl IsolatedDir {
    /// Copies the inputs of the checks from the tree as it is now, and returns them with the digests of the copies. An
    /// undeclared write of the task at such a path gives way: no task judges itself by a check of its own.
    fn bring_check_inputs(
        &self,
        context: &RunContext,
        assignment: &Assignment,
    ) -> Result<Validation, StagingError> {
        let edits = Globs::new(&assignment.task.edits)?;
        let declared = &assignment.validation;
        let mut inputs = declared.inputs.clone();
        for input in &mut inputs {
            if edits.matches(&input.path) {
                input.entry = context.tree.observe(&input.path).entry;
            } else if !self.is_behind_a_link(&input.path) {
                *input = self.bring_check_input(context, assignment, input)?;
            }
        }
        // A path behind a link comes with the target of that link.
        for input in
            inputs.iter_mut().filter(|input| input.from.is_none() && self.is_behind_a_link(&input.path))
        {
            input.entry = self.exec_root.dir.observe(&input.path).entry;
        }
        Ok(Validation { inputs, ..declared.clone() })
    }

    fn bring_check_input(
        &self,
        context: &RunContext,
        assignment: &Assignment,
        input: &Input,
    ) -> Result<Input, StagingError> {
        let path = &input.path;
        if input.from.is_some() {
            if self.exec_root.dir.observe(path).entry != input.entry {
                self.exec_root.bring(&context.tree, path)?;
            }
            if self.exec_root.dir.observe(path).entry != input.entry {
                self.exec_root.take_away(path)?;
                self.exec_root.restore(&context.objects, path, &input.entry)?;
            }
            return Ok(input.clone());
        }
        if let Some(entry) = self.entry_as_brought(context, assignment, path) {
            return Ok(Input { entry, ..input.clone() });
        }
        let brought = self.exec_root.bring(&context.tree, path)?.as_input(input);
        self.settle_link(context, path)?;
        Ok(brought)
    }

    /// The content of an input that lies in the folder as it was brought in, and in the tree as it was then.
    fn entry_as_brought(
        &self,
        context: &RunContext,
        assignment: &Assignment,
        path: &WorkspacePath,
    ) -> Option<Entry> {
        let seen = assignment.snapshot.seen(path)?;
        let is_untouched = self.before.get(path)? == &self.exec_root.dir.signature(path);
        let stands = !self.copied.contains(path) && context.tree.signature(path) == seen.signature;
        (is_untouched && stands).then_some(seen.entry)
    }

    /// True if the way to the path leads through a link. The path then comes with the target of that link.
    fn is_behind_a_link(&self, path: &WorkspacePath) -> bool {
        let is_link =
            |folder: WorkspacePath| self.exec_root.dir.signature(&folder).mode & 0o170_000 == 0o120_000;
        std::iter::successors(path.parent(), WorkspacePath::parent).any(is_link)
    }
}
