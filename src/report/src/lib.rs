//! Folds the event log into a run report and renders it: JUnit, JSON, HTML, Markdown, metrics.
