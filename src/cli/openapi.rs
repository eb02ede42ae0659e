//! `gradientd openapi`

use super::print;
use crate::api::router;

/// Prints the description of the API.
///
/// # Errors
/// When standard output is gone.
pub fn run() -> anyhow::Result<()> {
    let document = serde_json::to_string_pretty(&router::document())?;
    Ok(print(&format!("{document}\n"))?)
}
