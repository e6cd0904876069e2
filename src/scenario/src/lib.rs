//! Scenario files: what suites deploy, as data.
