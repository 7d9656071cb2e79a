//! JSON made for tensors: a pull reader without an intermediate tree, and a writer for numbers.
//!
//! Owns the syntax (RFC 8259) and where an error is; never knows what a document means. The reader is
//! strict except for the bare tokens `NaN`, `Infinity` and `-Infinity`, which Triton, TensorFlow
//! Serving and Python's `json` read and write. Nesting is bounded and never recursive, so a hostile
//! document can exhaust neither the stack nor more memory than its own size.

mod decimal;
mod elements;
mod error;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub(in crate::protocol) use self::elements::out_of_range;
pub use self::elements::read_elements;
pub use self::error::{DecodeError, DecodeErrorKind};
pub use self::reader::{DEPTH_MAX, Number, Reader, Token};
pub use self::writer::{write_f32, write_f64, write_integer, write_string};
