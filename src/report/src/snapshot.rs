//! Snapshots that `MESHPROOF_UPDATE=1` updates, like all other files that tests hold. Two crates share this file.

use std::{env, process::Command, thread};

/// Holds a text against the snapshot of that name.
#[track_caller]
pub(crate) fn assert(name: &str, text: &str) {
    if env::var_os("MESHPROOF_UPDATE").is_some() && env::var_os("INSTA_UPDATE").is_none() {
        update();
    } else {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

/// Runs this test again in a process in which insta writes what differs: it reads its own variable only.
fn update() {
    let mut again = Command::new(env::current_exe().expect("this test's binary"));
    if let Some(test) = thread::current().name().filter(|name| *name != "main") {
        again.args([test, "--exact"]);
    }
    let status = again
        .env("INSTA_UPDATE", "always")
        .status()
        .expect("the test runs again");
    assert!(status.success(), "the snapshot was not written");
}
