//! What can be typed behind `pointsman baseline`.

use std::path::PathBuf;

/// Data, and what its columns are.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct BaselineArgs {
    /// The model that the baseline is of.
    #[arg(required_unless_present = "python")]
    pub(in crate::cli) model: Option<String>,
    /// The version.
    #[arg(required_unless_present = "python")]
    pub(in crate::cli) version: Option<String>,
    /// The data: `.parquet`, or CSV with a header. Rows stand in time order, or `--time` says which column
    /// has it.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["python", "from_sagemaker"])]
    pub(in crate::cli) data: Option<PathBuf>,
    /// Convert SageMaker Model Monitor's `statistics.json` instead of reading data.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(in crate::cli) from_sagemaker: Option<PathBuf>,
    /// SageMaker's `constraints.json`: its domains become known values.
    #[arg(long, value_name = "FILE", requires = "from_sagemaker")]
    pub(in crate::cli) constraints: Option<PathBuf>,
    /// Where to write; standard output if absent.
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// A column that the model puts out; all others are features. May be repeated.
    #[arg(long = "output", value_name = "COLUMN")]
    pub(in crate::cli) outputs: Vec<String>,
    /// An output that is a score from 0 to 1: it gets equally wide bins. May be repeated.
    #[arg(long = "score", value_name = "COLUMN")]
    pub(in crate::cli) scores: Vec<String>,
    /// A column whose numbers are names. May be repeated.
    #[arg(long, value_name = "COLUMN")]
    pub(in crate::cli) categorical: Vec<String>,
    /// An output that is a number, though it has a few whole numbers only, which are taken for classes otherwise. May be
    /// repeated.
    #[arg(long, value_name = "COLUMN")]
    pub(in crate::cli) numeric: Vec<String>,
    /// A column that is neither feature nor output, such as the label. May be repeated.
    #[arg(long, value_name = "COLUMN")]
    pub(in crate::cli) ignore: Vec<String>,
    /// The column that has the time of a row; it is no feature.
    #[arg(long, value_name = "COLUMN")]
    pub(in crate::cli) time: Option<String>,
    /// The importance of a feature. May be repeated.
    #[arg(long = "weight", value_name = "COLUMN=NUMBER")]
    pub(in crate::cli) weights: Vec<String>,
    /// The model file: the baseline is refused beside any other. Of a model with data in further files,
    /// give `--digest` as the gateway prints it.
    #[arg(long, value_name = "FILE", conflicts_with = "digest")]
    pub(in crate::cli) artifact: Option<PathBuf>,
    /// The digest of the version, `sha256:` and 64 digits.
    #[arg(long, value_name = "DIGEST")]
    pub(in crate::cli) digest: Option<String>,
    /// What the data is, in words.
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) source: Option<String>,
    /// The bins of a number.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u8).range(2..=64))]
    pub(in crate::cli) bins: u8,
    /// The rows of a chunk whose noise is measured; as many as a window of the monitor has, if possible.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(in crate::cli) chunk: u32,
    /// Print the writer for Python, which needs numpy only, and do nothing else.
    #[arg(long, exclusive = true)]
    pub(in crate::cli) python: bool,
}
