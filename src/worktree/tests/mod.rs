//! The room against git itself.
