//! conductor: a declarative, build-system-style executor for slow, costly and unreliable tasks.
//!
//! This is the code map; `docs/architecture.md` tells the story. A room knows only the rooms on lower
//! floors (a test keeps it so):
//!
//! | room | floor | what it knows |
//! | --- | --- | --- |
//! | [`cli`] | 7 | argv → options; one file a command; exit codes |
//! | [`schedule`] | 6 | the one loop: ready queue, slots, failures |
//! | [`execute`] | 5 | one action: guard → stage → run → collect → validate |
//! | [`incremental`] | 4 | the only room that knows salsa: inputs, verdicts, reasons |
//! | [`manifest`] | 3 | YAML → spanned syntax → tasks + diagnostics |
//! | [`graph`] | 3 | edges, cycles, closure, critical path |
//! | [`store`] | 2 | what is kept in `.conductor/` between runs: state, journal, lock, runs, plan |
//! | [`process`] | 2 | spawn, capture, time out, stop by descent, signals |
//! | [`worktree`] | 2 | the only room that knows git2 |
//! | [`workspace`] | 2 | the only room that reads the tree: walk, glob, stat, digest, atomic write |
//! | [`agent`] | 1 | what an adapter means: command lines, what is heard of a program, what is said to it |
//! | [`report`] | 1 | readers of the event stream, and diagnostics as people see them |
//! | [`model`] | 0 | nouns: digests, paths, tasks, actions, records, events |

pub mod agent;
pub mod cli;
pub mod execute;
pub mod graph;
pub mod incremental;
pub mod manifest;
pub mod model;
pub mod process;
pub mod report;
pub mod schedule;
pub mod store;
pub mod workspace;
pub mod worktree;
