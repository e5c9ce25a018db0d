//! Tests of the inside: the work of SQLite for each operation, and the files that a forked process
//! keeps open.

mod inherited;
mod operations;
mod pages;
mod plans;
mod steps;
