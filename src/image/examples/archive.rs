//! Writes the archive without the rest of meshproof: what `ci/image.sh` runs.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (agent, output, reference) = match &args[..] {
        [agent, output] => (agent, output, meshproof_image::default_reference()),
        [agent, output, reference] => (agent, output, reference.clone()),
        _ => {
            eprintln!("usage: archive AGENT OUTPUT [REFERENCE]");
            return ExitCode::from(2);
        }
    };
    match meshproof_image::write(Path::new(agent), Path::new(output), &reference) {
        Ok(image) => {
            println!(
                "{output}: {} for {}, {} bytes compressed, {}",
                image.reference, image.architecture, image.compressed_size, image.digest
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
