//! What looks wrong about the inputs of tasks although it is no error: globs that match nothing, paths that nobody
//! made, links that lead out, outputs of tasks that are gone.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::db::Shape;
use super::engine::Engine;
use super::trails::Links;
use crate::graph::{TaskIndex, closure};
use crate::model::{At, Diagnostic, PathIndex, Pattern, TaskId, WorkspacePath};
use crate::workspace::{End, Globs};

/// So many are told one by one: nobody reads more.
const MAX_TOLD: usize = 100;

/// What a doubt is about: the task as the manifest has it, the place (file and offset), the link.
pub(super) type Subject = (String, u32, u32, Option<WorkspacePath>);

/// Doubts by what they are about, with the number of other instances that share them.
#[derive(Default)]
struct Doubts(BTreeMap<Subject, (Diagnostic, usize)>);

impl Doubts {
    /// Instances of a matrix share what is wrong with them: it is told of the first, and counted of the others.
    fn add(
        &mut self,
        task: &TaskId,
        at: At,
        link: Option<&WorkspacePath>,
        doubt: impl FnOnce() -> Diagnostic,
    ) {
        let key = (task.base().to_owned(), at.file, at.offset, link.cloned());
        self.0.entry(key).and_modify(|(_, others)| *others += 1).or_insert_with(|| (doubt(), 0));
    }

    /// In the manifest's order.
    fn told(self) -> Vec<Diagnostic> {
        let mut doubts: Vec<((u32, u32), Diagnostic)> = self
            .0
            .into_iter()
            .map(|((base, file, offset, _), (mut doubt, others))| {
                if others > 0 {
                    doubt.message =
                        format!("{}; {others} more of the instances of {base} likewise", doubt.message);
                }
                ((file, offset), doubt)
            })
            .collect();
        doubts.sort_by_key(|(place, _)| *place);
        let more = doubts.len().saturating_sub(MAX_TOLD);
        let mut doubts: Vec<Diagnostic> = doubts.into_iter().map(|(_, doubt)| doubt).take(MAX_TOLD).collect();
        if more > 0 {
            let message = format!("{more} more inputs look wrong in this way");
            doubts.push(Diagnostic::warning("build::more_inputs", message).help("correct those above first"));
        }
        doubts
    }
}

impl Engine {
    /// What looks wrong about the inputs of the candidates of a scope that has been observed, once for each task of
    /// the manifest.
    pub fn doubts(&mut self, scope: &[TaskIndex]) -> Vec<Diagnostic> {
        let mut doubts = Doubts::default();
        for index in scope.iter().copied() {
            if self.is_candidate(index) {
                self.doubtful_patterns(index, &mut doubts);
                self.doubtful_links(index, &mut doubts);
            }
        }
        self.doubted.extend(doubts.0.keys().cloned());
        let mut doubts = doubts.told();
        for task in &self.gone {
            let message =
                format!("{task} is not in the manifest any more, but outputs that it made are still there");
            doubts.push(
                Diagnostic::warning("build::gone_task", message)
                    .help("they are never taken as inputs; `conductor clean` removes them"),
            );
        }
        doubts
    }

    /// Warnings about the links that a task reads, once its dependencies are built. Those that were
    /// given before are left out.
    pub fn new_doubts(&mut self, index: TaskIndex) -> Vec<Diagnostic> {
        let mut doubts = Doubts::default();
        self.doubtful_links(index, &mut doubts);
        doubts.0.retain(|subject, _| self.doubted.insert(subject.clone()));
        doubts.told()
    }

    fn doubtful_patterns(&mut self, index: TaskIndex, doubts: &mut Doubts) {
        let Ok(task) = self.plan.task(index) else { return };
        let needed = OnceCell::new();
        for pattern in task.inputs.iter().filter(|pattern| !pattern.negated) {
            if self.finds_something(index, pattern, &needed) {
                continue;
            }
            let literal = pattern.literal.is_some();
            let is_linked = pattern.literal.as_ref().is_some_and(|path| self.lies_at(path) != *path);
            let what = match literal {
                true if is_linked => "does not exist",
                true => "does not exist and no task makes it",
                false => "matches nothing",
            };
            doubts.add(&task.id, pattern.at, None, || {
                let message = format!("input {} of {} {what}", pattern.display(), task.id);
                Diagnostic::warning("build::no_input", message)
                    .label(pattern.at, what)
                    .help("correct the path, or remove it")
            });
        }
    }

    /// Warnings for links whose target cannot count, and for links to outputs of tasks that it does
    /// not wait for.
    fn doubtful_links(&mut self, index: TaskIndex, doubts: &mut Doubts) {
        let Ok(input) = self.task_input(index) else { return };
        let shape = input.shape(&self.db);
        for links in [&shape.links, &shape.check_links] {
            Self::useless_links(&shape, links, doubts);
            self.unordered_links(index, &shape, links, doubts);
        }
    }

    fn useless_links(shape: &Shape, links: &Links, doubts: &mut Doubts) {
        for (link, end) in &links.ends {
            let what = match end {
                End::Outside => "leads out of the workspace",
                End::Missing(place) if links.lead_to(place) => continue,
                End::Missing(_) => "leads nowhere",
                End::Circle => "leads in a circle",
                End::Around(_) => "leads to a folder that holds it",
                End::File(_) | End::Folder(_) => continue,
            };
            let (id, at) = (&shape.task.id, shape.task.at);
            doubts.add(id, at, Some(link), || {
                let message =
                    format!("{link}, an input of {id}, is a link that {what}: only its text counts");
                Diagnostic::warning("build::link", message).label(at, "reads it")
            });
        }
    }

    /// Nothing in the manifest makes the task wait for the maker of these files.
    fn unordered_links(&mut self, index: TaskIndex, shape: &Shape, links: &Links, doubts: &mut Doubts) {
        let made: Vec<(&WorkspacePath, TaskIndex)> =
            links.unclaimed.iter().filter_map(|path| Some((path, self.maker(path)?))).collect();
        if made.is_empty() {
            return;
        }
        let before: BTreeSet<TaskIndex> = closure(&self.plan, &BTreeSet::from([index])).into_iter().collect();
        for (path, maker) in made.into_iter().filter(|(_, maker)| !before.contains(maker)) {
            let (id, maker, at) = (&shape.task.id, self.plan.id(maker), shape.task.at);
            doubts.add(id, at, Some(path), || {
                let message = format!(
                    "a link among the inputs of {id} leads to {path}, which {maker} makes, but {id} does not wait for {maker}"
                );
                Diagnostic::warning("build::link", message)
                    .label(at, "reads it")
                    .help(format!("add `needs: [{maker}]`"))
            });
        }
    }

    /// The task that declares a path, a folder above it, or something below it.
    fn maker(&self, path: &WorkspacePath) -> Option<TaskIndex> {
        let makers = self.makers();
        makers.around(path).chain(makers.below(path)).next().copied()
    }

    /// `needed`: the outputs that the task's dependencies declare, once that is looked for.
    fn finds_something(
        &mut self,
        index: TaskIndex,
        pattern: &Pattern,
        needed: &OnceCell<PathIndex<()>>,
    ) -> bool {
        let base = pattern.base();
        if let Some(path) = &pattern.literal {
            let id = self.look_at(path);
            if self.state.file(id).is_some_and(|row| row.entry.exists()) {
                return true;
            }
        } else {
            self.cover([base.clone()]);
            let Ok(globs) = Globs::new(std::slice::from_ref(pattern)) else { return true };
            if self.walked.below(&base).any(|path| globs.matches(path)) {
                return true;
            }
        }
        let lies_at = self.lies_at(&base);
        // Whatever a dependency may make of it, only its run can tell.
        let needed = needed.get_or_init(|| self.declared_by_dependencies(index));
        let meets = |base: &WorkspacePath| needed.around(base).chain(needed.below(base)).next().is_some();
        [&base, &lies_at].into_iter().any(meets)
    }
}
