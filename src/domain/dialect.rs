//! The prediction protocols by name.
//!
//! Owns the words by which the configuration, records and documentation call them. What each looks like
//! on the wire is known to the codecs only.

use std::fmt;

/// A prediction protocol, as clients or backends speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// The Open Inference Protocol, version 2, over REST.
    OpenInference,
    /// The Open Inference Protocol, version 2, over gRPC.
    OpenInferenceGrpc,
    /// The first protocol of KServe.
    KserveV1,
    /// TensorFlow Serving's REST API.
    TensorflowServing,
    /// TorchServe's inference API.
    Torchserve,
    /// A SageMaker container, or MLflow's scoring server.
    Sagemaker,
    /// Any other HTTP service, with declared places for what the gateway must know.
    Raw,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OpenInference,
        Self::OpenInferenceGrpc,
        Self::KserveV1,
        Self::TensorflowServing,
        Self::Torchserve,
        Self::Sagemaker,
        Self::Raw,
    ];

    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenInference => "open_inference",
            Self::OpenInferenceGrpc => "open_inference_grpc",
            Self::KserveV1 => "kserve_v1",
            Self::TensorflowServing => "tensorflow_serving",
            Self::Torchserve => "torchserve",
            Self::Sagemaker => "sagemaker",
            Self::Raw => "raw",
        }
    }

    /// The dialect of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
        }
        assert_eq!(Dialect::parse("triton"), None);
    }
}
