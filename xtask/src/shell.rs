//! Programs that are run from the root of the repository, and shown first.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

/// Result of a step: done, skipped because something is missing, or failed.
pub(crate) type Outcome = Result<Option<String>, String>;

/// A program to run from the root of the repository, with no standard input.
pub(crate) struct Shell {
    command: Command,
    shown: String,
    quiet: bool,
}

/// Prepares the cargo that runs this program.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Shell {
    program(
        &std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()),
        "cargo",
        arguments,
    )
}

/// Prepares any program; the output shows it by its `name`.
pub(crate) fn program<'a>(
    path: &str,
    name: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Shell {
    let mut command = Command::new(path);
    let mut shown = name.to_owned();
    for argument in arguments {
        command.arg(argument);
        shown = format!("{shown} {argument}");
    }
    command.current_dir(root()).stdin(Stdio::null());
    Shell {
        command,
        shown,
        quiet: false,
    }
}

/// Returns the root of the repository.
///
/// Cargo names the root when it runs this program; a copy that is run alone uses the folder in
/// which the copy was built.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
        let xtask = manifest.map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        xtask.parent().map(Path::to_owned).unwrap_or(xtask)
    });
    &ROOT
}

impl Shell {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self.shown = format!("{name}='{value}' {}", self.shown);
        self
    }

    /// Adds arguments that are not shown, because a reader who repeats the command does not need
    /// them.
    pub(crate) fn hidden<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Hides the command and its output.
    pub(crate) fn quiet(mut self) -> Self {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self.quiet = true;
        self
    }

    /// Runs the program; fails unless it exits with 0.
    pub(crate) fn run(mut self) -> Outcome {
        self.announce();
        let status = self
            .command
            .status()
            .map_err(|error| format!("{}: {error}", self.shown))?;
        if status.success() {
            Ok(None)
        } else {
            Err(format!("{}: {status}", self.shown))
        }
    }

    /// Runs the program, and kills it as soon as `now` returns true; fails if the program ends
    /// before.
    pub(crate) fn kill_when(mut self, now: impl Fn() -> bool) -> Outcome {
        println!("$ {}   (to be killed)", self.shown);
        let mut child = self
            .command
            .spawn()
            .map_err(|error| format!("{}: {error}", self.shown))?;
        while !now() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!(
                    "{} ended before it was killed: {status}",
                    self.shown
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let killed = child.kill().and_then(|()| child.wait());
        killed
            .map(|_| None)
            .map_err(|error| format!("{}: {error}", self.shown))
    }

    /// Runs the program, shows and returns its standard output; fails unless it exits with 0.
    pub(crate) fn output(mut self) -> Result<String, String> {
        self.announce();
        let output = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .output();
        let output = output.map_err(|error| format!("{}: {error}", self.shown))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !self.quiet {
            print!("{text}");
        }
        if output.status.success() {
            Ok(text)
        } else {
            Err(format!("{}: {}", self.shown, output.status))
        }
    }

    fn announce(&self) {
        if !self.quiet {
            println!("$ {}", self.shown);
        }
    }
}
