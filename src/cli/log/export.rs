//! `pointsman log export`

use std::io::Write;
use std::path::Path;

use super::super::args::{ExportArgs, ExportFormat};
use super::CommandError;
use super::progress::Progress;
use crate::prediction_log::query::cloudevents::Settings;
use crate::prediction_log::query::export::{Form, export as write};
use crate::prediction_log::query::filter::Filter;
use crate::prediction_log::query::last_lsn;
use crate::prediction_log::query::text::size;

/// Writes files, and prints what is in them and what is not.
pub(super) fn export(
    data_dir: &Path,
    args: &ExportArgs,
    filter: Filter,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let form = match args.format {
        ExportFormat::Parquet => Form::Parquet,
        ExportFormat::Jsonl => Form::Jsonl,
        ExportFormat::Cloudevents => Form::CloudEvents(Settings {
            source: args.source.clone(),
            namespace: args.namespace.clone(),
            ..Settings::default()
        }),
        ExportFormat::Sagemaker => Form::SageMaker,
    };
    let scopes = super::query::scopes(data_dir, &filter)?;
    let all = last_lsn(data_dir)?;
    let mut progress = Progress::records();
    let target = (args.out.as_path(), args.force);
    let summary =
        write(data_dir, &scopes, &filter, &form, target, &mut |at| progress.set(at, all))?;
    drop(progress);
    let files = summary.files.len();
    writeln!(
        out,
        "{} rows as {} lines or rows in {files} files, {}, below {}",
        summary.rows,
        summary.events,
        size(summary.bytes),
        args.out.display()
    )?;
    for (count, what) in [
        (summary.replaced, "files replaced"),
        (
            summary.without_whole_body,
            "rows without the whole of a body: cut or left out when recorded",
        ),
        (summary.gaps_left_out, "gaps left out"),
        (summary.feedback_left_out, "rows of feedback left out: the format has none"),
        (
            summary.others_left_out,
            "rows left out: no answer with a 2xx status, or a shadow or retry",
        ),
    ] {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    Ok(())
}
