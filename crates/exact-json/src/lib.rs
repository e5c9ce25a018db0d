#![doc = include_str!("../README.md")]

mod encode;

mod same;

mod number;
mod scan;

pub use encode::{EncodeError, encode};
pub use same::same;
pub use scan::{Member, depth, elements, members};
