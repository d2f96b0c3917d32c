//! conductor: a declarative, build-system-style executor for slow, costly and unreliable tasks.
//!
//! This is the code map; `docs/architecture.md` tells the story. A room knows only the rooms on lower
//! floors (a test keeps it so):
//!
//! | room | floor | what it knows |
//! | --- | --- | --- |
//! | [`report`] | 1 | readers of the event stream: progress, summary, JSON, execution log, trace |
//! | [`model`] | 0 | nouns: digests, paths, tasks, actions, records, events |

pub mod model;
pub mod report;
