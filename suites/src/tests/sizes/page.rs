//! The page of documentation with the table.

use super::{LIMITS, Run, bed, directions};
use crate::testing::Shape;

/// The page with these rows.
pub fn page(rows: &[String]) -> String {
    format!("{}{}{}", include_str!("page.md"), rows.concat(), costs())
}

/// The row of a shape in a page, with its end of line.
pub fn row_of(page: &str, shape: Shape) -> Option<String> {
    let start = format!("| {} | {} |", shape.clusters, shape.nodes);
    let mut lines = page.lines();
    lines
        .find(|line| line.starts_with(&start))
        .map(|line| format!("{line}\n"))
}

/// One row of the table, with its end of line.
pub fn row(run: &Run) -> String {
    let Run { shape, used, .. } = run;
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    format!(
        "| {} | {} | {} | {} | {} | {} s | {} s ({}) | {} | {} | {} | {} | {} | {:.1} MiB |\n",
        shape.clusters,
        shape.nodes,
        directions(*shape),
        run.summary.total(),
        run.pods,
        run.duration.as_secs(),
        run.slowest.1.as_secs(),
        run.slowest.0.check(),
        used.requests,
        used.execs,
        used.batches,
        mib(used.read),
        mib(used.largest),
        run.log as f64 / f64::from(1 << 20),
    )
}

fn costs() -> String {
    let ms = |duration: std::time::Duration| format!("{} ms", duration.as_millis());
    format!(
        "\nThe simulation takes {} for a request to an API server and {} MB/s for what it delivers, {} for a command \
         in a pod ({} at once in a cluster), {} for `debuginfo`, {} for a batch of probes, and {} pods of the house on \
         each node.\nThe limits of one trial are {} s, and {} s where it runs alone.\n",
        ms(bed::REQUEST),
        bed::RATE / 1_000_000,
        ms(bed::EXEC),
        bed::EXECS_AT_ONCE,
        ms(bed::DEBUGINFO),
        ms(bed::BATCH),
        bed::PODS,
        LIMITS.shared.as_secs(),
        LIMITS.exclusive.as_secs(),
    )
}
