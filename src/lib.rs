//! conductor: a declarative, build-system-style executor for slow, costly and unreliable tasks.
//!
//! This is the code map; `docs/architecture.md` tells the story. A room knows only the rooms on lower
//! floors (a test keeps it so):
//!
//! | room | floor | what it knows |
//! | --- | --- | --- |
//! | [`manifest`] | 3 | YAML → spanned syntax → tasks and diagnostics |
//! | [`report`] | 1 | what people and programs are told |
//! | [`model`] | 0 | nouns: digests, paths, tasks, actions, records, events |

pub mod manifest;
pub mod model;
pub mod report;
