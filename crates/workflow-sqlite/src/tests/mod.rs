//! Tests that look inside: what a forked process keeps open.

mod inherited;
