#![doc = include_str!("../README.md")]

mod encode;
mod number;
mod same;
mod scan;

pub use encode::{EncodeError, encode};
pub use same::same;
pub use scan::{Member, depth, elements, members};
