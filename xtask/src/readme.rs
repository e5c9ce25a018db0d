//! The commands of the README, run as a reader would run them.

use std::fs;

use crate::shell::{Outcome, program, root};

/// Runs every command in the README's `console` blocks, except `cargo xtask ci`, because that
/// command runs this step.
pub(crate) fn run(_: &[&str]) -> Outcome {
    let readme = fs::read_to_string(root().join("README.md")).map_err(|error| error.to_string())?;
    let commands = commands(&readme);
    if commands.is_empty() {
        return Err("the README has no command".into());
    }
    for command in commands {
        if command.starts_with("cargo xtask ci") {
            println!("$ {command}\n(running now)");
            continue;
        }
        let mut words = command.split_whitespace();
        let Some(name) = words.next() else { continue };
        program(name, name, words).run()?;
    }
    Ok(None)
}

/// Lists the lines behind a `$ ` in fenced blocks marked `console`, without their comments.
fn commands(readme: &str) -> Vec<&str> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = !inside && line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            commands.push(command.split(" # ").next().unwrap_or_default().trim());
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_console_blocks() {
        let readme = "$ no\n```console\n$ cargo one # why\nits output\n$ cargo two\n```\n```rust\n$ no\n```\n";
        assert_eq!(commands(readme), ["cargo one", "cargo two"]);
    }
}
