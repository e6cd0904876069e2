//! docs/claims.md is made of the rules and the table.

use meshproof_claims::page::page;
use std::{fs, path::Path};

#[test]
fn the_committed_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/claims.md");
    if std::env::var("MESHPROOF_UPDATE").as_deref() == Ok("1") {
        fs::write(&path, page()).expect("written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page(),
        "docs/claims.md is out of date: run `MESHPROOF_UPDATE=1 cargo test -p meshproof-claims --test claims`"
    );
}
