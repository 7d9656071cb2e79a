//! What can be typed after `pointsman log`.
//!
//! Owns options and their values; what they mean is in `prediction_log::query`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Format;
use crate::cli::log::ReplayArgs;
use crate::domain::ids::RecordId;
use crate::domain::record::{Kind, Outcome};
use crate::prediction_log::query::column::Column;
use crate::prediction_log::query::expression::Expression;
use crate::prediction_log::query::filter::{Filter, FilterError, parse_status, parse_time};

/// What to do with the prediction log.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LogCommand {
    /// Print the latest records.
    Tail(TailArgs),
    /// Print the records that match, oldest first.
    Query(QueryArgs),
    /// Write the records that match to files for other tools.
    Export(ExportArgs),
    /// Send recorded requests again and compare the answers; exit code 1 when they differ.
    Replay(Box<ReplayArgs>),
    /// Read everything and report damage and gaps; exit code 1 on damage.
    Verify {
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Count what is there.
    Stats {
        /// Count by kind, model, version and outcome too, which reads every record.
        #[arg(long)]
        breakdown: bool,
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
}

/// `log tail`
#[derive(Debug, Args)]
pub(in crate::cli) struct TailArgs {
    /// Go on with new records as they come.
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// How many records.
    #[arg(short = 'n', long, default_value_t = 10)]
    pub(in crate::cli) lines: u64,
    #[command(flatten)]
    pub(in crate::cli) form: FormArgs,
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
}

/// `log query`
#[derive(Debug, Args)]
pub(in crate::cli) struct QueryArgs {
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
    /// How many records at most.
    #[arg(long)]
    pub(in crate::cli) limit: Option<u64>,
    #[command(flatten)]
    pub(in crate::cli) form: FormArgs,
}

/// `log export`
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// What to write.
    #[arg(long, value_enum)]
    pub(in crate::cli) format: ExportFormat,
    /// The directory to write to; created if need be.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) out: PathBuf,
    /// Replace files that exist already.
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// The source of CloudEvents, a URI reference; `/pointsman/NODE` if absent.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "URI")]
    pub(in crate::cli) source: String,
    /// The namespace in CloudEvents.
    #[arg(long, default_value = "default")]
    pub(in crate::cli) namespace: String,
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
}

/// How rows are printed.
#[derive(Debug, Args)]
pub(in crate::cli) struct FormArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t = RowFormat::Human)]
    pub(in crate::cli) format: RowFormat,
    /// Which columns, separated by commas; all but the bodies in CSV if absent.
    #[arg(long, value_delimiter = ',', value_parser = column)]
    pub(in crate::cli) columns: Vec<Column>,
}

/// Which rows. Options of one kind are alternatives; those of different kinds must all hold.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Filters")]
pub(in crate::cli) struct FilterArgs {
    /// From this time on: RFC 3339, or `15m`, `2h`, `1d` ago.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) until: Option<String>,
    /// The model; may be repeated, as may the following.
    #[arg(long)]
    pub(in crate::cli) model: Vec<String>,
    /// The version.
    #[arg(long, value_name = "VERSION")]
    pub(in crate::cli) version: Vec<String>,
    /// The route.
    #[arg(long)]
    pub(in crate::cli) route: Vec<String>,
    /// The status: `404`, `5xx` or `400-499`.
    #[arg(long, value_parser = parse_status)]
    pub(in crate::cli) status: Vec<RangeInclusive<u16>>,
    /// How it ended: ok, model_error, upstream_error, timeout, client_cancel, rejected or shed.
    #[arg(long, value_parser = outcome)]
    pub(in crate::cli) outcome: Vec<Outcome>,
    /// What kind of row: inference, shadow, retry, explain, feedback or gap.
    #[arg(long, value_parser = kind)]
    pub(in crate::cli) kind: Vec<Kind>,
    /// The record's id, as in `x-prediction-id`.
    #[arg(long, value_parser = id)]
    pub(in crate::cli) id: Vec<RecordId>,
    /// The request id, as in `x-request-id`; of feedback, the one it refers to.
    #[arg(long)]
    pub(in crate::cli) request_id: Vec<String>,
    /// The W3C trace id.
    #[arg(long)]
    pub(in crate::cli) trace_id: Vec<String>,
    /// The feedback key; of feedback, the one it refers to.
    #[arg(long)]
    pub(in crate::cli) feedback_key: Vec<String>,
    /// A condition, such as `status >= 500 and t_total > 10ms or path like '/v2/%'`.
    #[arg(long = "where", value_name = "EXPRESSION", value_parser = expression)]
    pub(in crate::cli) expression: Option<Expression>,
}

impl FilterArgs {
    /// The filter, at the time `now_us` in microseconds since the Unix epoch.
    ///
    /// # Errors
    /// When a time is not understood.
    pub(in crate::cli) fn filter(&self, now_us: u64) -> Result<Filter, FilterError> {
        let time = |text: &Option<String>| {
            text.as_deref().map(|text| parse_time(text, now_us)).transpose()
        };
        Ok(Filter {
            since_us: time(&self.since)?,
            until_us: time(&self.until)?,
            models: self.model.clone(),
            versions: self.version.clone(),
            routes: self.route.clone(),
            statuses: self.status.clone(),
            outcomes: self.outcome.clone(),
            kinds: self.kind.clone(),
            ids: self.id.clone(),
            request_ids: self.request_id.clone(),
            trace_ids: self.trace_id.iter().map(|id| id.to_ascii_lowercase()).collect(),
            feedback_keys: self.feedback_key.clone(),
            expression: self.expression.clone(),
        })
    }
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum RowFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
    /// RFC 4180, with names.
    Csv,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ExportFormat {
    /// Parquet files, as the gateway itself writes them.
    Parquet,
    /// One JSON object a line, as `log query` prints.
    Jsonl,
    /// CloudEvents as KServe's logger sends them, one a line.
    Cloudevents,
    /// The files of SageMaker's data capture.
    Sagemaker,
}

fn column(name: &str) -> Result<Column, String> {
    Column::from_name(name).ok_or_else(|| match Column::suggestion(name) {
        Some(like) => format!("no such column; did you mean `{}`?", like.name()),
        None => "no such column".to_owned(),
    })
}

fn outcome(word: &str) -> Result<Outcome, String> {
    let words = || Outcome::ALL.iter().map(|of| of.as_str()).collect::<Vec<_>>().join(", ");
    Outcome::from_word(word).ok_or_else(|| format!("write one of {}", words()))
}

fn kind(word: &str) -> Result<Kind, String> {
    let words = || Kind::ALL.iter().map(|of| of.as_str()).collect::<Vec<_>>().join(", ");
    Kind::from_word(word).ok_or_else(|| format!("write one of {}", words()))
}

fn id(text: &str) -> Result<RecordId, String> {
    RecordId::parse(text).ok_or_else(|| "a record id is a UUID; see also --request-id".to_owned())
}

fn expression(text: &str) -> Result<Expression, String> {
    Expression::parse(text).map_err(|error| {
        let before: String = text.chars().take(error.at).map(|_| ' ').collect();
        format!("{error}\n  {text}\n  {before}^")
    })
}
