//! `pointsman explain`

use std::io::Write;

use super::Failure;
use super::args::Request;
use crate::domain::ids::Entropy;
use crate::domain::routing::{self, HeaderSource, ModelCall, RequestView, RoutingTable};
use crate::domain::spec::Intent;
use crate::protocol::dialect::{Call, Dialect, Release, parse_path};

/// Prints the way of a request through the table that the configuration makes, with every version
/// taken for ready.
pub(super) fn explain(
    intent: &Intent,
    request: &Request,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let table = RoutingTable::build(intent, |_| true).map_err(Failure::other)?;
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target.as_str(), None),
    };
    let headers = Headers::parse(&request.headers)?;
    let call = match parse_path(path).map_err(Failure::other)? {
        Some(Call { model: Some(model), release, .. }) => {
            let version = match release {
                Release::Any => None,
                Release::Version(name) | Release::Label(name) => Some(name),
            };
            Some(ModelCall { model, version })
        }
        Some(Call { dialect: Dialect::OpenInference, model: None, .. }) => {
            writeln!(out, "the gateway answers this path itself")?;
            return Ok(());
        }
        Some(Call { model: None, .. }) | None => None,
    };
    let view = RequestView {
        method: &request.method.to_ascii_uppercase(),
        host: headers.value("host").map(|host| host.split(':').next().unwrap_or(host)),
        path,
        query,
        headers: &headers,
        client: request.client,
        call,
    };
    let entropy = Entropy(request.entropy.unwrap_or_else(|| fastrand::u64(..)));
    let explanation = routing::explain(&table, &view, entropy);
    for step in &explanation.steps {
        writeln!(out, "- {step}")?;
    }
    match explanation.result {
        Ok(decision) => {
            let target = &table.target(decision.target).kind;
            let reason = decision.reason.as_str();
            writeln!(out, "=> {target} ({reason}, entropy {})", entropy.0)?;
            Ok(())
        }
        Err(no_route) => Err(Failure::other(no_route.to_string())),
    }
}

/// Headers as typed, names in lower case.
struct Headers(Vec<(String, String)>);

impl Headers {
    fn parse(lines: &[String]) -> Result<Self, Failure> {
        let parse = |line: &String| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Failure::other(format!("`{line}` is not `name: value`")))?;
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        Ok(Self(lines.iter().map(parse).collect::<Result<_, Failure>>()?))
    }
}

impl HeaderSource for Headers {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
