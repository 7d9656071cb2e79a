//! Pointsman: an edge-oriented model gateway.
//!
//! One binary and one configuration file between prediction clients and prediction models. It
//! routes every request to the right version of a model, answers from ONNX models in this process or
//! from prediction servers, and keeps every request and response as a prediction log.
#![doc = include_str!("docs/architecture.md")]

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod inference;
pub mod manual;
pub mod monitor;
pub mod prediction_log;
pub mod protocol;
pub mod proxy;
pub mod snapshot;
pub mod telemetry;
