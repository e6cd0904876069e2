//! Just enough SVG for the report's figures. Colours are classes of the page's style sheet, so that light and dark
//! work without scripts.

use std::fmt::{Display, Write};

/// A drawing that grows as it is described.
#[derive(Clone, Debug)]
pub(crate) struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

/// Which end of a text is at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty drawing of that size; `label` says in words what it shows.
    pub(crate) fn new(width: f64, height: f64, label: impl Into<String>) -> Self {
        Self {
            width,
            height,
            label: label.into(),
            body: String::new(),
        }
    }
    /// A rectangle with a text that appears when it is pointed at.
    pub(crate) fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, title: &str) {
        let (x, y, width, height) = (number(x), number(y), number(width.max(0.5)), number(height));
        self.push(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\" class=\"{class}\">"
        ));
        self.push(format_args!("<title>{}</title></rect>", escape(title)));
    }
    /// A straight line.
    pub(crate) fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        self.push(format_args!(
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>"
        ));
    }
    /// A text on its baseline.
    pub(crate) fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, class: &str, text: impl Display) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (number(x), number(y), escape(&text.to_string()));
        self.push(format_args!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
        ));
    }
    /// The element, as wide as its place allows and never wider than it was drawn.
    pub(crate) fn finish(self) -> String {
        let (width, height, label) = (number(self.width), number(self.height), escape(&self.label));
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" style=\"max-width:{width}px\" role=\"img\" \
             aria-label=\"{label}\">{}</svg>",
            self.body
        )
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.body.write_fmt(text).expect("a String takes everything");
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_numbers_short() {
        let mut svg = Svg::new(100.0, 20.5, "a \"b\"");
        svg.rect([1.0, 2.25, 3.0, 4.0], "good", "<script>");
        svg.text([0.0, 1.0], Anchor::End, "soft", "a & b");
        svg.line([0.0, 0.0, 1.0, 1.0], "axis");
        let expected = [
            r#"<svg viewBox="0 0 100 20.5" style="max-width:100px" role="img" aria-label="a &quot;b&quot;">"#,
            r#"<rect x="1" y="2.2" width="3" height="4" rx="2" class="good"><title>&lt;script&gt;</title></rect>"#,
            r#"<text x="0" y="1" text-anchor="end" class="soft">a &amp; b</text>"#,
            r#"<line x1="0" y1="0" x2="1" y2="1" class="axis"/></svg>"#,
        ];
        assert_eq!(svg.finish(), expected.concat());
    }
}
