//! The messages of `grpc.health.v1.Health`, see
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use prost::{Enumeration, Message};

/// The path of `Check`: one answer.
pub const CHECK_PATH: &str = "/grpc.health.v1.Health/Check";

/// The path of `Watch`: an answer now and at every change.
pub const WATCH_PATH: &str = "/grpc.health.v1.Health/Watch";

/// The request of both calls.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HealthCheckRequest {
    /// The service; empty for the server as a whole.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// The answer of both calls.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HealthCheckResponse {
    /// The state of the service.
    #[prost(enumeration = "ServingStatus", tag = "1")]
    pub status: i32,
}

/// The state of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ServingStatus {
    /// Not known yet.
    Unknown = 0,
    /// It answers.
    Serving = 1,
    /// It does not answer now.
    NotServing = 2,
    /// There is no such service; only `Watch` says so, `Check` fails with `NOT_FOUND`.
    ServiceUnknown = 3,
}

impl From<ServingStatus> for HealthCheckResponse {
    fn from(status: ServingStatus) -> Self {
        Self { status: status.into() }
    }
}
