//! Integration tests: the real binary, real sockets, one test program.

#[expect(clippy::panic, reason = "a test that cannot go on fails")]
mod support;

mod admin;
mod architecture;
mod data_path;
mod failures;
mod framing;
mod limits;
mod models;
mod process;
mod prediction_log;
