//! The statuses of Triton, for clients that were written to them.

use super::path::{Call, Operation, RepositoryAction};
use crate::protocol::status::FailureKind;

/// The HTTP status that Triton 2.51 answers when `call` fails like this. Besides its general rule
/// ([`FailureKind::triton_status`]) it has habits of its own: what is not ready is the client's mistake, a model
/// that cannot be loaded is the server's, and unloading what is not there succeeds.
pub const fn triton_status(call: &Call<'_>, failure: FailureKind) -> u16 {
    match (call, failure) {
        (Call::ServerReady | Call::Model { operation: Operation::Ready, .. }, _) => 400,
        (Call::Repository { action: RepositoryAction::Load, .. }, FailureKind::NotFound) => 500,
        (Call::Repository { action: RepositoryAction::Unload, .. }, FailureKind::NotFound) => 200,
        (_, failure) => failure.triton_status(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::open_inference::{decode_infer_request, parse_path};

    fn status(path: &str, failure: FailureKind) -> u16 {
        triton_status(&parse_path(path).expect("sound").expect("known"), failure)
    }

    /// What Triton 2.51.0 answered.
    #[test]
    fn statuses_are_those_of_triton() {
        assert_eq!(status("/v2/models/nope/ready", FailureKind::NotFound), 400);
        assert_eq!(status("/v2/health/ready", FailureKind::Unavailable), 400);
        assert_eq!(status("/v2/models/nope", FailureKind::NotFound), 404);
        assert_eq!(status("/v2/models/nope/infer", FailureKind::NotFound), 404);
        assert_eq!(status("/v2/repository/models/nope/load", FailureKind::NotFound), 500);
        assert_eq!(status("/v2/repository/models/nope/unload", FailureKind::NotFound), 200);

        let infer = |body: &str| {
            let error = decode_infer_request(body.as_bytes()).expect_err(body);
            status("/v2/models/m/infer", error.failure_kind())
        };
        let input = |members: &str| format!("{{\"inputs\":[{{\"name\":\"X\",{members}}}]}}");
        assert_eq!(infer("{bad"), 500);
        assert_eq!(infer(&input(r#""shape":[1,2],"datatype":"FP32","data":[1]"#)), 500);
        assert_eq!(infer(&input(r#""shape":[1,2],"datatype":"FP32","data":[1,"a"]"#)), 500);
        assert_eq!(infer(&input(r#""shape":[-1],"datatype":"FP32","data":[1]"#)), 500);
        assert_eq!(infer(r#"{"id":1,"inputs":[]}"#), 500);
        assert_eq!(infer("{}"), 500);
        assert_eq!(infer(&input(r#""shape":[1],"datatype":"X","data":[1]"#)), 400);
        assert_eq!(infer(r#"{"parameters":{"a":[]},"inputs":[]}"#), 400);
        assert_eq!(infer(r#"{"parameters":{"triton_a":1},"inputs":[]}"#), 400);
    }
}
