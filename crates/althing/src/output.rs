//! Printing: tables for people, JSON for machines, colour only on terminals.
//!
//! A closed pipe (`althing get … | head`) is not an error: whoever closed it has what they wanted.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use owo_colors::{OwoColorize, Style};
use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// Prints one line on standard output.
///
/// # Errors
/// Standard output cannot be written.
pub fn line(text: impl fmt::Display) -> Outcome {
    bytes(format!("{text}\n").as_bytes())
}

/// Prints one JSON value on a line of its own.
///
/// # Errors
/// As for `line`.
pub fn json(value: &Value) -> Outcome {
    line(value)
}

/// Writes bytes to standard output as they are.
///
/// # Errors
/// As for `line`.
pub fn bytes(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(format_args!("cannot write to standard output: {error}"))),
    }
}

/// Whether colour may be used on standard output: a terminal, and `NO_COLOR` (no-color.org) is not set.
pub fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text in a style, if colour may be used.
pub fn styled(text: impl fmt::Display, style: Style) -> String {
    if coloured() { text.style(style).to_string() } else { text.to_string() }
}

/// What went well.
pub fn good(text: impl fmt::Display) -> String {
    styled(text, Style::new().green())
}

/// What needs attention.
pub fn bad(text: impl fmt::Display) -> String {
    styled(text, Style::new().red().bold())
}

/// What matters less.
pub fn faint(text: impl fmt::Display) -> String {
    styled(text, Style::new().dimmed())
}

/// A table with these column titles. It fits a terminal's width, and never cuts text that goes elsewhere.
pub fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let title = |text: &&str| {
        let cell = Cell::new(text.to_uppercase());
        if coloured() { cell.add_attribute(Attribute::Bold) } else { cell }
    };
    table.set_header(titles.iter().map(title));
    let arrangement =
        if io::stdout().is_terminal() { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
    table.set_content_arrangement(arrangement);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A table's cell that says that something is well, or not.
pub fn verdict_cell(text: impl fmt::Display, well: bool) -> Cell {
    match (coloured(), well) {
        (true, true) => Cell::new(text).fg(Color::Green),
        (true, false) => Cell::new(text).fg(Color::Red),
        (false, _) => Cell::new(text),
    }
}

/// Bytes as people read them: UTF-8 as it is, the rest and control characters escaped.
pub fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Bytes as a JSON string if they are UTF-8, else as `{"base64": "…"}`.
pub fn json_bytes(bytes: &[u8]) -> Value {
    use base64::Engine;
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => {
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            serde_json::json!({ "base64": text })
        }
    }
}

/// A size with a unit that keeps it short.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_text_shows_every_byte() {
        assert_eq!(readable("plain ключ".as_bytes()), "plain ключ");
        assert_eq!(readable(b"a\nb\xff\\"), "a\\nb\\xff\\\\");
    }

    #[test]
    fn json_bytes_lose_nothing() {
        assert_eq!(json_bytes(b"text"), "text");
        assert_eq!(json_bytes(b"\xff\x00"), serde_json::json!({ "base64": "/wA=" }));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
