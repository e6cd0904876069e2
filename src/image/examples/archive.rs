//! Writes the archive without the rest of meshproof: what `ci/image.sh` runs.

use meshproof_image::{Image, ImageError, Program};
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
    match write(agent, Path::new(output), &reference) {
        Ok(image) => {
            let image = image.summary();
            println!(
                "{output}: {} for {}, {} bytes compressed, {}",
                image.reference, image.architectures[0], image.compressed_size, image.digest
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(agent: &str, output: &Path, reference: &str) -> Result<Image, ImageError> {
    let image = Image::build(Program::Agent, &[agent.into()], reference)?;
    image.write(output)?;
    Ok(image)
}
