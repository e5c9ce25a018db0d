//! The command line.

use std::path::PathBuf;

/// Arguments of the program.
pub(crate) struct Arguments {
    pub(crate) orders: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) storage: Storage,
}

/// Place where runs and events are kept.
pub(crate) enum Storage {
    Folder(PathBuf),
    Memory,
}

impl Arguments {
    pub(crate) const USAGE: &str =
        "quickstart [orders.jsonl] [--endpoint URL] [--data DIR] [--store sqlite|memory]";

    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self {
            orders: None,
            endpoint: None,
            storage: Storage::Folder(PathBuf::from(".wf/quickstart")),
        };
        while let Some(argument) = arguments.next() {
            let mut value = |what: &str| arguments.next().ok_or(format!("{argument} needs {what}"));
            match argument.as_str() {
                "--endpoint" => read.endpoint = Some(value("a URL")?),
                "--data" => read.storage = Storage::Folder(value("a folder")?.into()),
                "--store" => match value("sqlite or memory")?.as_str() {
                    "memory" => read.storage = Storage::Memory,
                    "sqlite" => {}
                    other => return Err(format!("there is no store {other}")),
                },
                _ if argument.starts_with('-') || read.orders.is_some() => {
                    return Err(format!("unexpected argument {argument}"));
                }
                _ => read.orders = Some(argument),
            }
        }
        Ok(read)
    }
}
