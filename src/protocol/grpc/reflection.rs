//! Server reflection: tells a client which services there are and what their messages look like.
//!
//! Owns the messages of `grpc.reflection.v1` and `v1alpha`, which are the same on the wire, and the answers
//! out of the committed descriptors of all services. Never answers for services that routes lead to.
//!
//! The descriptors are made, after a change of the files in `proto/`, by
//! `python -m grpc_tools.protoc -I proto --descriptor_set_out=descriptors.bin $(find proto -name '*.proto')`.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{DecodeError, Message, Oneof};

use crate::protocol::status::GrpcCode;

/// The paths of `ServerReflectionInfo` in both versions.
pub const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

static DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");

/// One message of a `ServerReflectionInfo` request.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ServerReflectionRequest {
    /// The host that is asked about; not looked at.
    #[prost(string, tag = "1")]
    pub host: String,
    /// The question.
    #[prost(oneof = "ReflectionQuestion", tags = "3, 4, 5, 6, 7")]
    pub message_request: Option<ReflectionQuestion>,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum ReflectionQuestion {
    /// The file of this name.
    #[prost(string, tag = "3")]
    FileByFilename(String),
    /// The file that defines this service, method, message or enum.
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    /// The file that extends a message.
    #[prost(message, tag = "5")]
    FileContainingExtension(ExtensionRequest),
    /// The extensions of this message.
    #[prost(string, tag = "6")]
    AllExtensionNumbersOfType(String),
    /// All services; the text has no meaning.
    #[prost(string, tag = "7")]
    ListServices(String),
}

/// An extension of a message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExtensionRequest {
    /// The message.
    #[prost(string, tag = "1")]
    pub containing_type: String,
    /// The field.
    #[prost(int32, tag = "2")]
    pub extension_number: i32,
}

/// One message of a `ServerReflectionInfo` answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ServerReflectionResponse {
    /// The host of the request.
    #[prost(string, tag = "1")]
    pub valid_host: String,
    /// The request.
    #[prost(message, optional, tag = "2")]
    pub original_request: Option<ServerReflectionRequest>,
    /// The answer.
    #[prost(oneof = "ReflectionAnswer", tags = "4, 5, 6, 7")]
    pub message_response: Option<ReflectionAnswer>,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum ReflectionAnswer {
    /// The file and those that it imports.
    #[prost(message, tag = "4")]
    Files(FileDescriptorResponse),
    /// The extensions of a message; there are none.
    #[prost(message, tag = "5")]
    ExtensionNumbers(ExtensionNumberResponse),
    /// All services.
    #[prost(message, tag = "6")]
    Services(ListServiceResponse),
    /// There is no answer.
    #[prost(message, tag = "7")]
    Error(ErrorResponse),
}

/// Files, each an encoded `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FileDescriptorResponse {
    /// The files.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub file_descriptor_proto: Vec<Bytes>,
}

/// Extensions of a message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExtensionNumberResponse {
    /// The message.
    #[prost(string, tag = "1")]
    pub base_type_name: String,
    /// Their fields.
    #[prost(int32, repeated, tag = "2")]
    pub extension_number: Vec<i32>,
}

/// All services.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListServiceResponse {
    /// Their names.
    #[prost(message, repeated, tag = "1")]
    pub service: Vec<ServiceResponse>,
}

/// One service.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ServiceResponse {
    /// Its full name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ErrorResponse {
    /// A status code of gRPC.
    #[prost(int32, tag = "1")]
    pub error_code: i32,
    /// What is wrong.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// Knows the services and answers questions about them.
#[derive(Debug, Clone)]
pub struct Reflection {
    files: Vec<Bytes>,
    services: Vec<String>,
    /// Which file defines a full name.
    symbols: BTreeMap<String, usize>,
    /// Which file has a name.
    names: BTreeMap<String, usize>,
}

impl Reflection {
    /// The services of this gateway.
    ///
    /// # Errors
    /// When the descriptors are damaged, which a test rules out.
    pub fn new() -> Result<Self, DecodeError> {
        let set = outline::FileSet::decode(DESCRIPTORS)?;
        let mut all = Self {
            files: set.file,
            services: Vec::new(),
            symbols: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for (at, file) in all.files.iter().enumerate() {
            let file = outline::File::decode(&**file)?;
            all.names.insert(file.name, at);
            for service in file.service {
                let name = format!("{}.{}", file.package, service.name);
                for method in service.method {
                    all.symbols.insert(format!("{name}.{}", method.name), at);
                }
                all.symbols.insert(name.clone(), at);
                all.services.push(name);
            }
            for name in file.enum_type {
                all.symbols.insert(format!("{}.{}", file.package, name.name), at);
            }
            // Messages within messages are entries of maps and the like, one level deep.
            for message in file.message_type {
                let name = format!("{}.{}", file.package, message.name);
                for inner in message.nested_type.iter().chain(&message.enum_type) {
                    all.symbols.insert(format!("{name}.{}", inner.name), at);
                }
                all.symbols.insert(name, at);
            }
        }
        Ok(all)
    }

    /// The full names of all services.
    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// Answers one message of a `ServerReflectionInfo` request.
    pub fn answer(&self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &request.message_request {
            Some(ReflectionQuestion::FileByFilename(name)) => self.file(self.names.get(name), name),
            Some(ReflectionQuestion::FileContainingSymbol(name)) => {
                let symbol = name.strip_prefix('.').unwrap_or(name);
                self.file(self.symbols.get(symbol), name)
            }
            Some(ReflectionQuestion::FileContainingExtension(extension)) => {
                not_found(&format!("an extension of {}", extension.containing_type))
            }
            Some(ReflectionQuestion::AllExtensionNumbersOfType(name)) => {
                if self.symbols.contains_key(name) {
                    let base_type_name = name.clone();
                    let none = ExtensionNumberResponse { base_type_name, extension_number: vec![] };
                    ReflectionAnswer::ExtensionNumbers(none)
                } else {
                    not_found(name)
                }
            }
            Some(ReflectionQuestion::ListServices(_)) => {
                let service = |name: &String| ServiceResponse { name: name.clone() };
                let service = self.services.iter().map(service).collect();
                ReflectionAnswer::Services(ListServiceResponse { service })
            }
            None => error(GrpcCode::InvalidArgument, "the request asks nothing".to_owned()),
        };
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        }
    }

    fn file(&self, at: Option<&usize>, what: &str) -> ReflectionAnswer {
        let file = at.and_then(|&at| self.files.get(at)).cloned();
        file.map_or_else(
            || not_found(what),
            |file| {
                let file_descriptor_proto = vec![file];
                ReflectionAnswer::Files(FileDescriptorResponse { file_descriptor_proto })
            },
        )
    }
}

fn not_found(what: &str) -> ReflectionAnswer {
    error(GrpcCode::NotFound, format!("{what} is not known here"))
}

fn error(code: GrpcCode, error_message: String) -> ReflectionAnswer {
    ReflectionAnswer::Error(ErrorResponse { error_code: code.number().into(), error_message })
}

/// The part of `google/protobuf/descriptor.proto` that says which names a file defines.
mod outline {
    use bytes::Bytes;
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct FileSet {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        pub(super) file: Vec<Bytes>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct File {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) package: String,
        #[prost(message, repeated, tag = "4")]
        pub(super) message_type: Vec<Type>,
        #[prost(message, repeated, tag = "5")]
        pub(super) enum_type: Vec<Named>,
        #[prost(message, repeated, tag = "6")]
        pub(super) service: Vec<Service>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Type {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "3")]
        pub(super) nested_type: Vec<Named>,
        #[prost(message, repeated, tag = "4")]
        pub(super) enum_type: Vec<Named>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Service {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "2")]
        pub(super) method: Vec<Named>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Named {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(question: ReflectionQuestion) -> ReflectionAnswer {
        let reflection = Reflection::new().expect("the descriptors are whole");
        let message_request = Some(question);
        let response =
            reflection.answer(ServerReflectionRequest { host: "h".into(), message_request });
        assert_eq!(response.valid_host, "h");
        response.message_response.expect("an answer")
    }

    #[test]
    fn all_services_are_listed() {
        let ReflectionAnswer::Services(services) =
            ask(ReflectionQuestion::ListServices(String::new()))
        else {
            panic!("no list")
        };
        let mut names: Vec<&str> = services.service.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "inference.GRPCInferenceService",
            ]
        );
    }

    #[test]
    fn files_are_found_by_what_they_define() {
        for symbol in [
            "inference.GRPCInferenceService",
            ".inference.GRPCInferenceService.ModelInfer",
            "inference.ModelInferRequest.InferInputTensor",
            "inference.DataType",
            "grpc.health.v1.HealthCheckResponse.ServingStatus",
        ] {
            let answer = ask(ReflectionQuestion::FileContainingSymbol(symbol.into()));
            let ReflectionAnswer::Files(files) = answer else { panic!("{symbol}: {answer:?}") };
            let file = outline::File::decode(&*files.file_descriptor_proto[0]).expect("valid");
            assert!(symbol.trim_start_matches('.').starts_with(&file.package));
            let by_name = ask(ReflectionQuestion::FileByFilename(file.name));
            assert_eq!(by_name, ReflectionAnswer::Files(files));
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let extension = ExtensionRequest { containing_type: "x".into(), extension_number: 1 };
        for question in [
            ReflectionQuestion::FileByFilename("x.proto".into()),
            ReflectionQuestion::FileContainingSymbol("x".into()),
            ReflectionQuestion::AllExtensionNumbersOfType("x".into()),
            ReflectionQuestion::FileContainingExtension(extension),
        ] {
            let answer = ask(question);
            let ReflectionAnswer::Error(error) = answer else { panic!("{answer:?}") };
            assert_eq!(error.error_code, 5);
        }
        let known = ask(ReflectionQuestion::AllExtensionNumbersOfType("inference.DataType".into()));
        assert!(matches!(known, ReflectionAnswer::ExtensionNumbers(_)));
    }
}
