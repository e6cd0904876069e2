//! What was found, as lines: about what, how it stands, and what to do next.

use std::fmt::Write;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Good,
    /// A run can start; it will see less, or say so itself.
    Note,
    /// No run can start, or it would prove nothing.
    Bad,
}

#[derive(Clone, Debug)]
struct Line {
    about: String,
    state: State,
    text: String,
    next: Option<String>,
}

/// The lines in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet {
    lines: Vec<Line>,
}

impl Sheet {
    pub(super) fn add(&mut self, about: &str, state: State, text: String) {
        self.lines.push(Line {
            about: about.to_owned(),
            state,
            text,
            next: None,
        });
    }

    pub(super) fn add_with_next(&mut self, about: &str, state: State, text: String, next: String) {
        self.add(about, state, text);
        if let Some(line) = self.lines.last_mut() {
            line.next = Some(next);
        }
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        self.lines.append(&mut other.lines);
    }

    pub(super) fn is_bad(&self) -> bool {
        self.lines.iter().any(|line| line.state == State::Bad)
    }

    /// The lines, and whether a run can start; ends with a newline. A next step that several lines have is shown with
    /// the last of them.
    pub(super) fn text(&self) -> String {
        let width = self
            .lines
            .iter()
            .map(|line| line.about.chars().count())
            .max()
            .unwrap_or(0);
        let mut out = String::new();
        for (index, line) in self.lines.iter().enumerate() {
            let word = match line.state {
                State::Good => "ok",
                State::Note => "note",
                State::Bad => "FAILED",
            };
            let text = line.text.replace('\n', " ");
            writeln!(out, "{:<width$}  {word:<6}  {text}", line.about).expect("a String takes everything");
            let following = self.lines.get(index + 1).and_then(|line| line.next.as_ref());
            if let Some(next) = line.next.as_ref().filter(|next| following != Some(*next)) {
                writeln!(out, "{:<width$}          next: {next}", "").expect("a String takes everything");
            }
        }
        let verdict = match self.is_bad() {
            true => "a run cannot start yet",
            false => "a run can start: meshproof run",
        };
        writeln!(out, "\n{verdict}").expect("a String takes everything");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_step_of_several_lines_is_shown_once() {
        let mut sheet = Sheet::default();
        sheet.add("infra", State::Good, "answers".to_owned());
        for what in ["list pods", "create namespaces"] {
            let text = format!("the user may not {what}");
            sheet.add_with_next("infra", State::Note, text, "meshproof rbac".to_owned());
        }
        assert_eq!(
            sheet.text(),
            "infra  ok      answers\ninfra  note    the user may not list pods\ninfra  note    the user may not create \
             namespaces\n               next: meshproof rbac\n\na run can start: meshproof run\n"
        );
        sheet.add("apps", State::Bad, "away".to_owned());
        assert!(sheet.is_bad() && sheet.text().ends_with("\na run cannot start yet\n"));
    }
}
