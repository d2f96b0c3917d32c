//! Confinement as a process meets it: real programs, confined by the real `conductor`, by each means that this
//! machine has; as whoever runs the tests, and where that is root, as an ordinary user too.
#![expect(clippy::unwrap_used, reason = "a test ends where its world does not stand")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod files;
mod hidden;
mod network;
mod ordinary;
mod process;
mod world;
