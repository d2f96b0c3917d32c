//! conductor: a declarative, build-system-style executor for slow, costly and unreliable tasks.
//!
//! This is the code map; `docs/architecture.md` tells the story. A room knows only the rooms on lower
//! floors (a test keeps it so):
//!
//! | room | floor | what it knows |
//! | --- | --- | --- |
//! | [`process`] | 2 | spawn, capture, time out, stop by descent, signals |
//! | [`worktree`] | 2 | the only room that knows git2 |
//! | [`workspace`] | 2 | the only room that reads the tree: walk, glob, stat, digest, atomic write |
//! | [`model`] | 0 | nouns: digests, paths, tasks, actions, records, events |

pub mod model;
pub mod process;
pub mod workspace;
pub mod worktree;
