//! Which rendering goes where.

use crate::{
    line::lines,
    live::live,
    result::{Detail, result},
    screen::{Screen, Surface},
};
use jiff::Timestamp;
use meshproof_contract::{Event, EventRecord, RunState};
use std::{io::Write, path::Path};

/// What stdout is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The result for people; progress goes to stderr.
    #[default]
    Human,
    /// Failures and the verdict only; no progress.
    Quiet,
    /// The events, one JSON object a line; no progress.
    Json,
}

/// Shows a run. A stream that went away (`| head`) ends the showing, never the run.
pub struct Progress {
    format: Format,
    surface: Surface,
    run: RunState,
    /// The last line about waiting in this phase, and when it was shown.
    waited: Option<(Timestamp, String)>,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new(format: Format, mut surface: Surface) -> Self {
        if format != Format::Human {
            surface.bar = None;
        }
        Self {
            format,
            surface,
            run: RunState::default(),
            waited: None,
        }
    }

    /// Shows one more event.
    pub fn handle(&mut self, record: &EventRecord) {
        self.run.handle(record);
        match (self.format, &self.surface.bar) {
            (Format::Human, Some(_)) => self.draw(record.at),
            (Format::Human, None) => {
                if self.is_noise(record) {
                    return;
                }
                for line in lines(record, &self.run) {
                    let _ = writeln!(self.surface.err, "{line}");
                }
            }
            (Format::Json, _) => {
                if let Ok(line) = serde_json::to_string(record) {
                    let _ = writeln!(self.surface.out, "{line}").and_then(|()| self.surface.out.flush());
                }
            }
            (Format::Quiet, _) => {}
        }
    }

    /// Whether a line is not worth showing: waiting reports every small step, a log needs one a second.
    fn is_noise(&mut self, record: &EventRecord) -> bool {
        let Event::Waiting { what } = &record.event else {
            if matches!(record.event, Event::Phase { .. }) {
                self.waited = None;
            }
            return false;
        };
        let recent = self.waited.as_ref().is_some_and(|(at, shown)| {
            shown == what || record.at.duration_since(*at) < jiff::SignedDuration::from_secs(1)
        });
        if !recent {
            self.waited = Some((record.at, what.clone()));
        }
        recent
    }

    /// Lets the clocks of the live view go on; call it about ten times a second between events.
    pub fn tick(&mut self, now: Timestamp) {
        self.draw(now);
    }

    /// Takes the live view away and prints the result; `reports` is the folder that was written, if one was.
    pub fn finish(&mut self, reports: Option<&Path>) {
        if let Some(bar) = self.surface.bar.take() {
            bar.finish_and_clear();
        }
        let detail = match self.format {
            Format::Human => Detail::Full,
            Format::Quiet => Detail::Red,
            Format::Json => return,
        };
        let text = result(&self.run, reports, detail, self.surface.out_palette);
        let _ = self
            .surface
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.surface.out.flush());
    }

    /// What is known of the run, such as for its reports.
    pub fn run(&self) -> &RunState {
        &self.run
    }

    /// Stderr for logs, above the live view.
    pub fn screen(&self) -> Screen {
        Screen(self.surface.bar.clone())
    }

    fn draw(&self, now: Timestamp) {
        if let Some(bar) = &self.surface.bar {
            let width = console::Term::stderr()
                .size_checked()
                .map_or(80, |(_, columns)| usize::from(columns));
            bar.set_message(live(&self.run, now, width, self.surface.err_palette));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::mixed, palette::Palette, screen::bar};
    use indicatif::{InMemoryTerm, ProgressDrawTarget};
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);
    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Pipe {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    fn surface(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Surface {
        let (out, err) = (Box::new(out), Box::new(err));
        Surface {
            out,
            err,
            out_palette: Palette::Plain,
            err_palette: Palette::Plain,
            bar: None,
        }
    }
    fn shown(format: Format) -> (String, String) {
        let (out, err) = (Pipe::default(), Pipe::default());
        let mut progress = Progress::new(format, surface(out.clone(), err.clone()));
        mixed().iter().for_each(|event| progress.handle(event));
        progress.finish(Some(Path::new("reports/latest")));
        (out.text(), err.text())
    }

    #[test]
    fn results_go_to_stdout_and_progress_to_stderr() {
        let (out, err) = shown(Format::Human);
        assert!(
            out.starts_with("claims of apps come from the live configuration"),
            "{out}"
        );
        assert!(
            out.lines()
                .last()
                .is_some_and(|line| line.starts_with("FAILED  23 passed, 1 failed")),
            "{out}"
        );
        assert!(err.contains("FAIL          connectivity::udp[infra->apps]"), "{err}");
        assert!(
            !out.contains('\u{1b}') && !err.contains('\u{1b}'),
            "no escape codes in a pipe"
        );
    }

    #[test]
    fn waiting_is_shown_once_a_second_and_the_same_once() {
        let err = Pipe::default();
        let mut progress = Progress::new(Format::Human, surface(Pipe::default(), err.clone()));
        let start = mixed()[0].at;
        for (millis, what) in [
            (0, "3 of 9"),
            (300, "4 of 9"),
            (1500, "3 of 9"),
            (1600, "5 of 9"),
            (2000, "6 of 9"),
        ] {
            let at = start + std::time::Duration::from_millis(millis);
            progress.handle(&EventRecord {
                at,
                event: Event::Waiting { what: what.into() },
            });
        }
        assert_eq!(err.text().lines().count(), 2, "{}", err.text());
    }

    #[test]
    fn json_is_the_log_itself() {
        let (out, err) = shown(Format::Json);
        let events: Vec<EventRecord> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((events, err.as_str()), (mixed(), ""));
    }

    #[test]
    fn quiet_is_what_is_red_and_the_verdict() {
        let (out, err) = shown(Format::Quiet);
        assert_eq!(err, "");
        assert!(out.starts_with("FAILED  connectivity::udp[infra->apps]"), "{out}");
    }

    #[test]
    fn a_reader_that_left_does_not_end_the_run() {
        for format in [Format::Human, Format::Quiet, Format::Json] {
            let mut progress = Progress::new(format, surface(Closed, Closed));
            mixed().iter().for_each(|event| progress.handle(event));
            progress.finish(None);
        }
    }

    #[test]
    fn the_live_view_is_drawn_and_taken_away() {
        let terminal = InMemoryTerm::new(30, 120);
        let mut surface = surface(Pipe::default(), Pipe::default());
        surface.bar = Some(bar(ProgressDrawTarget::term_like(Box::new(terminal.clone()))));
        let mut progress = Progress::new(Format::Human, surface);
        let events = mixed();
        events[..20].iter().for_each(|event| progress.handle(event));
        progress.tick(events[19].at);
        progress.surface.bar.as_ref().unwrap().force_draw();
        let screen = terminal.contents();
        assert!(
            screen.contains("checking") && screen.contains("of 26 checks"),
            "{screen}"
        );
        progress.finish(None);
        assert_eq!(terminal.contents(), "");
    }
}
