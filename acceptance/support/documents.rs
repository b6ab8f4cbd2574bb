//! The pages of the documentation, and the commands in them.
//!
//! Commands stand in blocks that begin with ```` ```console ````, where that line goes on with what becomes of them (GitHub shows
//! nothing of it): `run`, and a test does what stands there; `cluster`, since it takes one; or `by-hand:` and why nobody but a
//! person does it.

use std::{fs, path::Path};

use local_stack::workspace_root;

use crate::{Error, Result};

/// What becomes of the commands of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A test runs them, in order.
    Run,
    /// They take a cluster.
    Cluster,
    /// Only a person does, for a reason that stands there.
    ByHand,
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// From the root: `docs/operations.md`.
    pub path: String,
    text: String,
}

/// What stands between two fences.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// `docs/operations.md:193`.
    pub place: String,
    /// The heading above it.
    pub section: String,
    /// What follows the fence.
    pub info: String,
    /// Its lines.
    pub lines: Vec<String>,
}

/// A command, as a reader would type it.
#[derive(Clone, Debug)]
pub struct Command {
    /// Where it stands.
    pub place: String,
    /// Under which heading.
    pub section: String,
    /// Several lines, where it goes on.
    pub text: String,
    /// What the page shows of its answer.
    pub shown: Vec<String>,
}

/// Every page but the history.
pub fn pages() -> Result<Vec<Page>> {
    let mut paths = Vec::new();
    find(&workspace_root(), "", &mut paths)?;
    paths.sort();
    paths.iter().map(|path| page(path)).collect()
}

/// One of them.
pub fn page(path: &str) -> Result<Page> {
    let text = fs::read_to_string(workspace_root().join(path))
        .map_err(|error| Error::new(format!("{path}: {error}")))?;
    Ok(Page {
        path: path.to_owned(),
        text,
    })
}

/// Pages lie at the root, in `docs/`, and beside the parts that they are about.
fn find(root: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{below}{name}");
        if entry.file_type()?.is_dir() {
            let of_others = name.starts_with('.') || name == "target" || name == "node_modules";
            if !of_others && path.matches('/').count() < 3 {
                find(root, &format!("{path}/"), paths)?;
            }
        } else if name == "README.md"
            || below == "docs/" && Path::new(&name).extension().is_some_and(|it| it == "md")
            || ["CONTRIBUTING.md", "SECURITY.md"].contains(&path.as_str())
        {
            paths.push(path);
        }
    }
    Ok(())
}

impl Page {
    /// Its blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut section = String::new();
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.lines.push(line.trim_end().to_owned()),
                (None, Some(info)) => {
                    open = Some(Block {
                        place: format!("{}:{}", self.path, number + 1),
                        section: section.clone(),
                        info: info.trim().to_owned(),
                        lines: Vec::new(),
                    });
                }
                (None, None) => {
                    if let Some(heading) = line.strip_prefix("## ") {
                        heading.trim().clone_into(&mut section);
                    }
                }
            }
        }
        blocks.extend(open);
        blocks
    }

    /// The commands of blocks with this mark, in order.
    pub fn commands(&self, mark: Mark) -> Result<Vec<Command>> {
        let mut commands = Vec::new();
        for block in self.blocks() {
            if block.mark()? == Some(mark) {
                commands.extend(block.commands());
            }
        }
        Ok(commands)
    }

    /// Those of a section that somebody runs.
    pub fn commands_of(&self, section: &str) -> Result<Vec<Command>> {
        let mut commands = self.commands(Mark::Run)?;
        commands.retain(|command| command.section == section);
        if commands.is_empty() {
            return Err(Error::new(format!("{section:?} in {} has no command", self.path)));
        }
        Ok(commands)
    }

    /// What stands in backquotes outside of blocks, also where that begins a new line.
    pub fn code_spans(&self) -> Vec<String> {
        let mut inside = false;
        let prose: Vec<&str> = self
            .text
            .lines()
            .filter(|line| {
                let fence = line.trim_start().starts_with("```");
                inside ^= fence;
                !inside && !fence
            })
            .collect();
        // A paragraph at a time: a stray backquote spoils no more than that.
        prose
            .join("\n")
            .split("\n\n")
            .flat_map(|paragraph| {
                let spans = paragraph.split('`').skip(1).step_by(2);
                spans.map(|span| span.replace('\n', " ")).collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Block {
    /// What becomes of its commands; nothing of text that is none.
    pub fn mark(&self) -> Result<Option<Mark>> {
        let (language, mark) = self.info.split_once(' ').unwrap_or((&self.info, ""));
        let has_commands = self.lines.iter().any(|line| line.trim_start().starts_with("$ "));
        match (language, mark) {
            ("console", _) if !has_commands => {}
            ("console", "run") => return Ok(Some(Mark::Run)),
            ("console", "cluster") => return Ok(Some(Mark::Cluster)),
            ("console", mark) if mark.strip_prefix("by-hand: ").is_some_and(|why| !why.is_empty()) => {
                return Ok(Some(Mark::ByHand));
            }
            ("" | "console" | "sh" | "bash" | "shell", _) => {}
            _ if has_commands => {}
            _ => return Ok(None),
        }
        Err(Error::new(format!(
            "{}: begins with ```{}; a block of commands with `console run`, `console cluster` or `console by-hand: WHY`, each \
             command with `$ `, and any other with its language",
            self.place, self.info
        )))
    }

    /// Its commands, each with what is shown of its answer.
    pub fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        for line in &self.lines {
            if let Some(text) = line.trim_start().strip_prefix("$ ") {
                commands.push(Command {
                    place: self.place.clone(),
                    section: self.section.clone(),
                    text: text.to_owned(),
                    shown: Vec::new(),
                });
            } else if let Some(last) = commands.last_mut() {
                let goes_on =
                    last.shown.is_empty() && ["\\", "|", "&&"].iter().any(|end| last.text.ends_with(end));
                if goes_on {
                    last.text = format!("{}\n{line}", last.text);
                } else if !line.trim().is_empty() {
                    last.shown.push(line.clone());
                }
            }
        }
        commands
    }
}
