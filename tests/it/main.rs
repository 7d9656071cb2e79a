//! Integration tests: the real binary, real sockets, one test program.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says why"
)]

mod support;

mod admin;
mod alarms;
mod architecture;
mod baselines;
mod batching;
mod capture;
mod client_headers;
mod conformance;
mod corpus;
mod data_path;
mod descriptions;
mod dialects;
mod discovery;
mod drift;
mod failures;
mod feedback;
mod framing;
mod grpc;
mod grpc_backends;
mod hostile;
mod http2;
mod limits;
mod log_commands;
mod log_metrics;
mod long_bodies;
mod models;
mod monitor;
mod openapi;
mod prediction_log;
mod process;
mod quality;
mod releases;
mod replay;
mod repository;
mod sinks;
mod translation;
mod trials;
mod unread_bodies;
mod windows;
