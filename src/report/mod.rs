//! What people and programs are told: readers of the event stream, and diagnostics.
//!
//! It decides nothing about a run, and no other room prints.

pub mod diagnostics;
