//! The lines of a result as they are written.

use crate::{palette::Palette, terminal::printable};
use std::fmt::{Arguments, Write};

/// Names listed for one reason.
const NAMES: usize = 6;

/// Text that grows line by line.
pub(super) struct Sheet {
    text: String,
    pub(super) palette: Palette,
}

impl Sheet {
    pub(super) fn new(palette: Palette) -> Self {
        Self {
            text: String::new(),
            palette,
        }
    }
    pub(super) fn line(&mut self, text: Arguments<'_>) {
        writeln!(self.text, "{text}").expect("a String takes everything");
    }
    /// An empty line, except at the top.
    pub(super) fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }
    /// The first names, and how many more.
    pub(super) fn names(&mut self, names: &[&str]) {
        let more = match names.len().saturating_sub(NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let text = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ") + &more;
        self.line(format_args!("  {}", self.palette.faint(printable(&text))));
    }
    pub(super) fn field(&mut self, name: &str, value: &str) {
        let name = self.palette.faint(format!("{name:<10}"));
        self.line(format_args!("  {name}  {}", printable(value)));
    }
    pub(super) fn finish(self) -> String {
        self.text
    }
}
