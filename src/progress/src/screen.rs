//! The two streams of the process and what they can show.

use crate::palette::Palette;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};

/// Where a run is shown.
pub struct Surface {
    /// For results.
    pub(crate) out: Box<dyn Write + Send>,
    /// For progress.
    pub(crate) err: Box<dyn Write + Send>,
    /// Whether `out` shows colours.
    pub(crate) out_palette: Palette,
    /// Whether `err` shows colours.
    pub(crate) err_palette: Palette,
    /// A bar on `err`, when that is a terminal.
    pub(crate) bar: Option<ProgressBar>,
}

impl Surface {
    /// The process's own streams: a live view only where stderr is a terminal that can move its cursor, colours only
    /// on terminals and without `NO_COLOR` (<https://no-color.org>: set and not empty).
    pub fn detect() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colours = !dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let palette = |terminal: bool| {
            if terminal && colours {
                Palette::Colour
            } else {
                Palette::Plain
            }
        };
        let live = io::stderr().is_terminal() && !dumb;
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            out_palette: palette(io::stdout().is_terminal()),
            err_palette: palette(live),
            bar: live.then(|| bar(ProgressDrawTarget::stderr())),
        }
    }
}

/// One bar with as many lines as its message has: one owner of the terminal instead of many bars.
pub(crate) fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}").expect("a valid template");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

/// Stderr for others while the live view is there, such as for logs: what is written appears above it.
#[derive(Clone, Debug, Default)]
pub struct Screen(pub(crate) Option<ProgressBar>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
