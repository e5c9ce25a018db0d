//! Tests that look inside: what SQLite does for each operation, and what a forked process keeps
//! open.

mod inherited;
mod operations;
mod pages;
mod plans;
mod steps;
