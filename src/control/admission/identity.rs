//! Whether a version is the one that it claims to be.
//!
//! Owns what is asked for that: of a file its digest, of each backend what it says it serves, whether it is ready,
//! and whether it answers for names that nobody has, as a server does that ignores them and serves what it has. Never
//! looks at the values of an answer.

use super::bench::Bench;
use super::remote::{BACKENDS_MAX, Names, Remote};
use super::runner::{Place, RunError};
use super::{CheckError, Subject, Where, failed, passed};
use crate::domain::dialect::Dialect;
use crate::domain::lifecycle::evidence::{Check, CheckKind};
use crate::domain::spec::OnnxSpec;
use crate::inference::{LocalModel, is_signed};
use crate::protocol::dialect::DeclaredModel;
use crate::protocol::tensor::Tensor;

const KIND: CheckKind = CheckKind::Identity;
/// A model that nobody has.
const NO_MODEL: &str = "pointsman-asks-for-a-model-that-nobody-has";
/// A version that nobody has, where versions are words and where they are numbers.
const NO_VERSION: [&str; 2] = ["pointsman-asks-for-a-version-that-nobody-has", "998244353"];

/// Checks the identity of a version; `row` is one that it may answer.
///
/// # Errors
/// When no backend answers and is ready.
pub(super) async fn identity(
    subject: &Subject,
    bench: &mut Bench,
    row: Option<&[Tensor]>,
) -> Result<Check, CheckError> {
    let time = bench.runner.time();
    match (&mut bench.runner.place, &subject.place) {
        (Place::Local(model), Where::Local { spec, .. }) => {
            let signed = signed(spec.clone(), model.digest()).await;
            Ok(match signed {
                Ok(()) => of_file(model, spec),
                Err(reason) => failed(KIND, unsigned(&reason)),
            })
        }
        (Place::Remote(remote), Where::Remote { addresses, .. }) => {
            let (mut there, mut missing) = (0, Vec::new());
            for backend in 0..remote.backends() {
                let at = remote.authority(backend);
                let mut asked = Asked { remote, backend, row, time };
                let found = asked.all().await;
                remote.meet_one(backend, matches!(found, Ok(None)));
                match found {
                    Ok(None) => there += 1,
                    Ok(Some(what)) => return Ok(failed(KIND, format!("{at} {what}"))),
                    Err(error) => missing.push(format!("{at}: {error}")),
                }
            }
            // One that is away says nothing about the others, which are its equals.
            if there == 0 {
                return Err(CheckError::Candidate(missing.join("; ")));
            }
            let mut told = told(remote, there, addresses.len(), row.is_some());
            if !missing.is_empty() {
                told = format!("{told}; not asked: {}", missing.join("; "));
            }
            Ok(passed(KIND, told))
        }
        // A bench is made of its subject.
        (Place::Local(_) | Place::Remote(_), _) => {
            Ok(failed(KIND, "it is not where it was".to_owned()))
        }
    }
}

fn of_file(model: &LocalModel, spec: &OnnxSpec) -> Check {
    let hex =
        |digest: &[u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let found = hex(&model.digest());
    if let Some(wanted) = spec.digest.filter(|wanted| *wanted != model.digest()) {
        return failed(KIND, format!("its digest is sha256:{found}, not sha256:{}", hex(&wanted)));
    }
    let signed = if spec.signature.is_some() { ", signed" } else { "" };
    let named = if spec.digest.is_some() { ", as announced" } else { "" };
    passed(KIND, format!("sha256:{found}{named}{signed}, {} bytes, is loaded", model.bytes()))
}

/// Whether a file is signed by the key that is asked for, if one is.
async fn signed(spec: OnnxSpec, digest: [u8; 32]) -> Result<(), String> {
    let Some(key) = spec.signature else { return Ok(()) };
    let signed = tokio::task::spawn_blocking(move || is_signed(&spec.path, &key, digest)).await;
    signed.map_err(|gone| gone.to_string())?
}

/// What is said of a version without the signature that it needs.
pub(in crate::control) fn unsigned(reason: &str) -> String {
    format!(
        "it is not signed by the key that the configuration asks for ({reason}); publish the signature of its \
         digest beside it, as `model.onnx.sig`"
    )
}

fn told(remote: &Remote, count: usize, all: usize, tried: bool) -> String {
    let more = if all > BACKENDS_MAX { format!(" of {all}") } else { String::new() };
    let Names { model, version } = remote.names();
    let whom = version.map_or_else(|| model.to_owned(), |version| format!("{model}/{version}"));
    let dialect = remote.dialect();
    if !names_models(dialect) {
        return format!("{count}{more} backends answer; {dialect} has no names for models");
    }
    let predictions = if tried { "" } else { "; no row is known to ask for predictions with" };
    format!(
        "{count}{more} backends serve {whom} and do not answer for names that nobody has{predictions}"
    )
}

/// Whether requests say which model they are for.
const fn names_models(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Sagemaker | Dialect::Raw)
}

/// The questions to one backend.
struct Asked<'a> {
    remote: &'a mut Remote,
    backend: usize,
    row: Option<&'a [Tensor]>,
    time: std::time::Duration,
}

impl Asked<'_> {
    /// What is wrong with it, if anything.
    async fn all(&mut self) -> Result<Option<String>, RunError> {
        if self.remote.is_ready(self.backend, self.time).await? == Some(false) {
            return Err(RunError::Unreachable("the model is not ready there".to_owned()));
        }
        if let Some(what) = self.described().await? {
            return Ok(Some(what));
        }
        if let Some(what) = self.answers_as_itself().await? {
            return Ok(Some(what));
        }
        if !names_models(self.remote.dialect()) {
            return Ok(None);
        }
        let Names { model, version } = self.remote.names();
        let (model, version) = (model.to_owned(), version.map(str::to_owned));
        let nobody = Names { model: NO_MODEL, version: version.as_deref() };
        if self.serves(nobody).await? {
            return Ok(Some(format!(
                "answers for `{NO_MODEL}`, a model that nobody has, as if it were there: it would \
                 answer for any other version too"
            )));
        }
        let Some(version) = version else { return Ok(None) };
        // KServe V1 has no version in its paths.
        if self.remote.dialect() == Dialect::KserveV1 {
            return Ok(None);
        }
        let numeric = version.parse::<u64>().is_ok();
        let [word, number] = NO_VERSION;
        let missing = if numeric { number } else { word };
        if self.serves(Names { model: &model, version: Some(missing) }).await? {
            return Ok(Some(format!(
                "answers for version `{missing}` of {model}, which nobody has, as if it were there"
            )));
        }
        Ok(None)
    }

    /// What it says about itself is what it should be.
    async fn described(&mut self) -> Result<Option<String>, RunError> {
        let Names { model, version } = self.remote.names();
        let (model, version) = (model.to_owned(), version.map(str::to_owned));
        let own = Names { model: &model, version: version.as_deref() };
        let Some(told) = self.remote.describe(self.backend, own, self.time).await? else {
            return Ok(None);
        };
        // One that is asked for a version by its name may have others beside it.
        if own.version.is_none() {
            self.remote.told_by(self.backend, &told.versions);
        }
        Ok(misnamed(&told, own))
    }

    /// A prediction is said to be of the right model and version.
    async fn answers_as_itself(&mut self) -> Result<Option<String>, RunError> {
        let Some(row) = self.row else { return Ok(None) };
        let Names { model, version } = self.remote.names();
        let (model, version) = (model.to_owned(), version.map(str::to_owned));
        let own = Names { model: &model, version: version.as_deref() };
        let said = match self.remote.predict_at(self.backend, own, row, &[], self.time).await {
            Ok(said) => said,
            Err(error @ RunError::Unreachable(_)) => return Err(error),
            // What is wrong with its answers is for other checks to say.
            Err(_) => return Ok(None),
        };
        if !said.model.is_empty() && said.model != model {
            return Ok(Some(format!(
                "answers in the name of model `{}`, not `{model}`",
                said.model
            )));
        }
        match version {
            Some(version) if !said.version.is_empty() && said.version != version => Ok(Some(
                format!("answers with version `{}` of {model}, not `{version}`", said.version),
            )),
            _ => Ok(None),
        }
    }

    /// Whether it serves something under this name.
    async fn serves(&mut self, names: Names<'_>) -> Result<bool, RunError> {
        let told = self.remote.describe(self.backend, names, self.time).await?;
        if told.is_some_and(|told| !told.inputs.is_empty()) {
            return Ok(true);
        }
        let Some(row) = self.row else { return Ok(false) };
        // Many servers say that what they do not have is unavailable: any refusal will do.
        let said = self.remote.predict_at(self.backend, names, row, &[], self.time).await;
        Ok(said.is_ok())
    }
}

/// What is wrong with what a backend tells about its model.
fn misnamed(told: &DeclaredModel, own: Names<'_>) -> Option<String> {
    let Names { model, version } = own;
    if !told.name.is_empty() && told.name != model {
        return Some(format!("says that it serves `{}`, not `{model}`", told.name));
    }
    let version = version?;
    if told.versions.is_empty() || told.versions.iter().any(|known| known == version) {
        return None;
    }
    let known = told.versions.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    Some(format!("has {known} of `{model}`, and no version `{version}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_tells_must_be_about_the_version() {
        let told = |name: &str, versions: &[&str]| DeclaredModel {
            name: name.to_owned(),
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
            ..DeclaredModel::default()
        };
        let own = Names { model: "fraud", version: Some("7") };
        assert_eq!(misnamed(&told("fraud", &["6", "7"]), own), None);
        assert_eq!(misnamed(&told("", &[]), own), None, "it does not tell");
        let other = misnamed(&told("iris", &[]), own).expect("another model");
        assert_eq!(other, "says that it serves `iris`, not `fraud`");
        let other = misnamed(&told("fraud", &["6"]), own).expect("another version");
        assert_eq!(other, "has 6 of `fraud`, and no version `7`");
        assert_eq!(misnamed(&told("fraud", &["6"]), Names { version: None, ..own }), None);
    }
}
