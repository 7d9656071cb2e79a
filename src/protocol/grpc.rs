//! What gRPC puts around the messages of any service.
//!
//! Owns the framing of messages in a body ([`FrameReader`], [`encode_frame`]), the values of gRPC's own
//! headers and trailers, how a call ends ([`unary_message`]), and the services that every server has: [`health`] and [`reflection`]. Pure:
//! never reads a socket, and knows nothing of HTTP/2.

mod answer;
mod frame;
mod header;
pub mod health;
pub mod reflection;

pub use self::answer::{
    GRPC_MESSAGE, GRPC_STATUS, UnaryError, message_of, status_of, unary_message,
};
pub use self::frame::{
    Frame, FrameError, FramePieces, FrameReader, MessageTooLong, PREFIX_BYTES, encode_frame,
    encode_frame_with, prefix,
};
pub use self::header::{decode_message, encode_message, format_timeout, parse_timeout};
