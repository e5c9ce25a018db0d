//! The fold from events to the view of a run.

mod make;
mod properties;
mod reference;
mod traces;
mod views;
