//! `pointsman run`

use super::Failure;
use crate::app::{App, StartError};
use crate::domain::spec::Intent;

/// Serves to the end of the process.
pub(super) fn run(intent: Intent) -> Result<(), Failure> {
    let app = App::build(intent).map_err(Failure::other)?;
    app.run().map_err(|error| match error {
        StartError::Models(errors) => {
            let lines: Vec<String> = errors
                .iter()
                .map(|error| format!("{}", crate::telemetry::logging::chain(error)))
                .collect();
            Failure::other(lines.join("\nerror: "))
        }
        error => Failure::other(error),
    })
}
