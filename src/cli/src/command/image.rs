//! `meshproof image`: the probe image as an archive.

use crate::{args::ImageArgs, fatal::Fatal};
use meshproof_contract::Exit;

/// Packs the agent.
pub fn image(args: &ImageArgs) -> Result<Exit, Fatal> {
    let summary = meshproof_image::write(&args.agent, &args.output, &args.reference).map_err(Fatal::usage)?;
    println!(
        "{}  {}  {}  {:.2} MiB  {}",
        summary.reference,
        summary.digest,
        summary.architecture,
        summary.compressed_size as f64 / f64::from(1 << 20),
        args.output.display()
    );
    Ok(Exit::Passed)
}
