//! The script's text form; `e2e/etcdctl/script.txt` explains it at its top.

use anyhow::{Context, bail};
use regex::Regex;

/// One shell command and how to run and compare it.
#[derive(Debug, Default)]
pub struct Step {
    /// Line number in the script, for messages.
    pub line: usize,
    /// What bash runs.
    pub command: String,
    /// Stop after this many lines of output.
    pub lines_max: Option<usize>,
    /// Keep what the expression matches in this variable.
    pub save: Option<(String, Regex)>,
    /// Compare lines in sorted order.
    pub sort: bool,
    /// The id of a known, explained difference.
    pub differs: Option<String>,
}

/// Reads a script.
///
/// # Errors
/// If a line is neither a comment, an annotation nor an etcdctl command.
pub fn parse(text: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut step = Step::default();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(annotation) = line.strip_prefix('@') {
            annotate(&mut step, annotation).with_context(|| format!("line {number}"))?;
            continue;
        }
        if !line.starts_with("etcdctl") {
            bail!("line {number} is neither a comment, an annotation nor an etcdctl command: {line}");
        }
        step.line = number;
        step.command = line.to_owned();
        if line.ends_with("<<EOF") {
            for (document_line, _) in lines.by_ref() {
                step.command.push('\n');
                step.command.push_str(document_line);
                if document_line == "EOF" {
                    break;
                }
            }
        }
        steps.push(std::mem::take(&mut step));
    }
    Ok(steps)
}

fn annotate(step: &mut Step, annotation: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = annotation.splitn(3, ' ').collect();
    match words[..] {
        ["lines", count] => step.lines_max = Some(count.parse().context("@lines takes a number")?),
        ["save", variable, expression] => step.save = Some((variable.to_owned(), Regex::new(expression)?)),
        ["sort"] => step.sort = true,
        ["differs", id] => step.differs = Some(id.to_owned()),
        _ => bail!("unknown annotation @{annotation}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_belong_to_the_next_command_and_here_documents_to_theirs() {
        let text = "# c\n@lines 2\n@save A [0-9]+\netcdctl watch a\n\netcdctl txn <<EOF\n\nput a b\nEOF\netcdctl get a\n";
        let steps = parse(text).unwrap();
        assert_eq!(steps.len(), 3);
        assert_eq!(steps[0].lines_max, Some(2));
        assert_eq!(steps[1].command, "etcdctl txn <<EOF\n\nput a b\nEOF");
        assert_eq!((steps[2].lines_max, steps[2].line), (None, 10));
        assert!(parse("rm -rf x").is_err());
        assert!(parse("@nonsense\netcdctl get a").is_err());
    }
}
