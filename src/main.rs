//! The `conductor` command.
fn main() {}
