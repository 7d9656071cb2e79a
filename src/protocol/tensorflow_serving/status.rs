//! The state of a model's versions.

use serde_json::Value;

use crate::protocol::describe::{VersionState, VersionStatus};
use crate::protocol::json::write_string;

impl VersionState {
    const ALL: [Self; 5] =
        [Self::Start, Self::Loading, Self::Available, Self::Unloading, Self::End];

    /// The name on the wire.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Loading => "LOADING",
            Self::Available => "AVAILABLE",
            Self::Unloading => "UNLOADING",
            Self::End => "END",
        }
    }
}

/// Appends the answer to `GET /v1/models/{model}`. On the path that KServe shares (`kserve` says whether
/// the model can predict) the answer has its keys as well.
pub fn encode_status(kserve: Option<(&str, bool)>, versions: &[VersionStatus], out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some((name, ready)) = kserve {
        out.extend_from_slice(b"\"name\":");
        write_string(out, name);
        out.extend_from_slice(if ready { b",\"ready\":true," } else { b",\"ready\":false," });
    }
    out.extend_from_slice(b"\"model_version_status\":[");
    for (at, status) in versions.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"version\":" } else { b",{\"version\":" });
        write_string(out, &status.version);
        out.extend_from_slice(b",\"state\":\"");
        out.extend_from_slice(status.state.as_str().as_bytes());
        let code = if status.message.is_empty() { "OK" } else { "UNKNOWN" };
        out.extend_from_slice(b"\",\"status\":{\"error_code\":\"");
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(b"\",\"error_message\":");
        write_string(out, &status.message);
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b"]}");
}

/// Decodes the answer to `GET /v1/models/{model}`; `None` when it is something else.
pub fn decode_status(body: &[u8]) -> Option<Vec<VersionStatus>> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let versions = document.get("model_version_status")?.as_array()?;
    let version = |status: &Value| {
        let state = status.get("state")?.as_str()?;
        let message = status.pointer("/status/error_message").and_then(Value::as_str);
        Some(VersionStatus {
            version: status.get("version")?.as_str()?.to_owned(),
            state: VersionState::ALL.into_iter().find(|own| own.as_str() == state)?,
            message: message.unwrap_or_default().to_owned(),
        })
    };
    versions.iter().map(version).collect()
}
