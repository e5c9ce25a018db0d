//! The orders: one JSON object a line, from the sample or from a file of the user.

use std::io;

use serde::{Deserialize, Serialize};

const SAMPLE: &str = include_str!("orders.jsonl");

/// One order, as the file contains it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    /// Identifier of the order, and of its run.
    pub(crate) id: String,
    customer: String,
    items: Vec<Item>,
    pub(crate) amount_cents: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    sku: String,
    quantity: u32,
}

/// Content of a file.
pub(crate) struct Orders {
    pub(crate) valid: Vec<Order>,
    /// Number of lines that are not orders; each was reported.
    pub(crate) malformed: usize,
}

/// Reads the file at `path`, or the sample, and reports every malformed line with its number.
pub(crate) fn read(path: Option<&str>) -> io::Result<Orders> {
    let (name, text) = match path {
        Some(path) => {
            let text = std::fs::read(path)
                .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
            (path, text)
        }
        None => ("sample", SAMPLE.into()),
    };
    let mut orders = Orders {
        valid: Vec::new(),
        malformed: 0,
    };
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(order) => orders.valid.push(order),
            Err(error) => {
                orders.malformed += 1;
                let text = error.to_string();
                // The parser saw only this line, so the line number in its message is useless.
                let problem = text.split(" at line ").next().unwrap_or_default();
                eprintln!(
                    "{name}, line {number}, column {}: not an order, skipped: {problem}",
                    error.column()
                );
            }
        }
    }
    Ok(orders)
}
