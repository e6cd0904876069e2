//! `meshproof lab`.
use crate::{args::LabCommand, fatal::Fatal};
use meshproof_contract::Exit;
pub fn lab(_command: &LabCommand) -> Result<Exit, Fatal> {
    Err(Fatal::environment(anyhow::anyhow!("no lab yet")))
}
