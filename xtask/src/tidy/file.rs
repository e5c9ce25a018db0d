//! The files of the repository, as the rules see them.

use std::fs;

use crate::shell::{program, root};

/// A file that git tracks, or would; the separator in its path is `/` on every platform.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Reads every file that git does not ignore.
pub(crate) fn all() -> Result<Vec<File>, String> {
    let arguments = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ];
    let listed = program("git", "git", arguments).quiet().output()?;
    let read = |path: &str| {
        // A file that is deleted but not yet committed is still listed.
        let bytes = fs::read(root().join(path)).ok()?;
        Some(File {
            path: path.to_owned(),
            // A checkout on Windows may end its lines with CR LF.
            text: String::from_utf8_lossy(&bytes).replace("\r\n", "\n"),
        })
    };
    Ok(listed.lines().filter_map(read).collect())
}
