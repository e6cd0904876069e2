//! Colours, or none.

use std::fmt::Display;

/// How text is emphasised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// Not at all: pipes, files, `NO_COLOR`, dumb terminals.
    #[default]
    Plain,
    /// The sixteen colours that every terminal's theme defines.
    Colour,
}

impl Palette {
    fn paint(self, code: &str, text: impl Display) -> String {
        match self {
            Palette::Plain => text.to_string(),
            Palette::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
    pub(crate) fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }
    pub(crate) fn bad(self, text: impl Display) -> String {
        self.paint("1;31", text)
    }
    pub(crate) fn unsure(self, text: impl Display) -> String {
        self.paint("33", text)
    }
    pub(crate) fn strong(self, text: impl Display) -> String {
        self.paint("1", text)
    }
    pub(crate) fn faint(self, text: impl Display) -> String {
        self.paint("2", text)
    }
}
