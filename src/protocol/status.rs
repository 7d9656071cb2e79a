//! What a failure is called in each protocol.
//!
//! Owns the kinds of failure that protocols tell apart, and the way from each kind to a gRPC status code
//! and to the HTTP status that Triton answers. The gateway's own HTTP status, which is more helpful than
//! Triton's, is decided where the failure arises. Never knows why a request failed.

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The body is not of the protocol at all.
    Malformed,
    /// The body is of the protocol, but not what the model takes.
    InvalidArgument,
    /// The body is longer than allowed.
    TooLarge,
    /// The client did not say who it is.
    Unauthenticated,
    /// The client may not do this.
    PermissionDenied,
    /// There is no such model, version or path.
    NotFound,
    /// Too many requests from this client.
    QuotaExhausted,
    /// Too many requests in all, or nothing that could answer yet.
    Unavailable,
    /// There was no answer in time.
    DeadlineExceeded,
    /// The client gave up.
    Cancelled,
    /// Something that this server does not offer.
    Unimplemented,
    /// The backend's answer cannot be used.
    BadBackend,
    /// The model or the gateway failed.
    Internal,
}

/// A status code of gRPC, see <https://grpc.io/docs/guides/status-codes/>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of gRPC")]
#[repr(u8)]
pub enum GrpcCode {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl GrpcCode {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The number in the trailer `grpc-status`.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Reads the value of the trailer `grpc-status`; what is no known code counts as
    /// [`Unknown`](Self::Unknown), as the protocol demands.
    pub fn parse(value: &[u8]) -> Self {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
        number.and_then(|number| Self::ALL.get(number)).copied().unwrap_or(Self::Unknown)
    }

    /// The code for an HTTP answer without a `grpc-status`, by gRPC's table
    /// (doc/http-grpc-status-mapping.md of its repository).
    pub const fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The HTTP status for a REST client when a gRPC backend failed with this code.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::ResourceExhausted => 429,
            Self::Cancelled => 499,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }
}

impl FailureKind {
    /// The status code for a gRPC client.
    pub const fn grpc_code(self) -> GrpcCode {
        match self {
            Self::Malformed | Self::InvalidArgument => GrpcCode::InvalidArgument,
            Self::TooLarge | Self::QuotaExhausted => GrpcCode::ResourceExhausted,
            Self::Unauthenticated => GrpcCode::Unauthenticated,
            Self::PermissionDenied => GrpcCode::PermissionDenied,
            Self::NotFound => GrpcCode::NotFound,
            Self::Unavailable | Self::BadBackend => GrpcCode::Unavailable,
            Self::DeadlineExceeded => GrpcCode::DeadlineExceeded,
            Self::Cancelled => GrpcCode::Cancelled,
            Self::Unimplemented => GrpcCode::Unimplemented,
            Self::Internal => GrpcCode::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_numbers_of_grpc_and_read_back() {
        for (number, code) in GrpcCode::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(GrpcCode::parse(number.to_string().as_bytes()), code);
        }
        for value in [b"17".as_slice(), b"", b"-1", b"x", b"\xff", b"999999999999999999999999"] {
            assert_eq!(GrpcCode::parse(value), GrpcCode::Unknown);
        }
    }
}
