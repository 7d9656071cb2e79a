//! A client's socket under the machinery of HTTP/2: what was read before comes first, and the frames
//! are followed as they pass.
//!
//! Owns the look at frame heads (RFC 9113 section 4.1) that tells when a head has begun and when it is
//! complete, and how many streams the client resets. Never changes or holds back a byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::state::ConnState;

/// The length of the preface.
const PREFACE_LEN: usize = 24;
/// The length of a frame's head.
const FRAME_HEAD_LEN: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// The socket.
pub(super) struct WatchedIo {
    stream: TcpStream,
    /// What was read before.
    first: Bytes,
    frames: Frames,
    state: Arc<ConnState>,
}

impl WatchedIo {
    /// `first` begins with the preface.
    pub(super) fn new(stream: TcpStream, first: Bytes, state: Arc<ConnState>) -> Self {
        Self { stream, first, frames: Frames::default(), state }
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = if this.first.is_empty() {
            Pin::new(&mut this.stream).poll_read(cx, buf)
        } else {
            let taken = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..taken]);
            this.first.advance(taken);
            Poll::Ready(Ok(()))
        };
        this.frames.see(&buf.filled()[before..], &this.state);
        result
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where in its frames a connection is.
struct Frames {
    head: [u8; FRAME_HEAD_LEN],
    /// Bytes of the next frame's head that are here.
    head_len: usize,
    /// Bytes of the current frame that are still to come.
    left: usize,
    kind: u8,
    /// A head of several frames is not complete.
    in_head: bool,
}

impl Default for Frames {
    fn default() -> Self {
        // The preface counts as the first frame; SETTINGS must follow as soon as a head must end.
        Self { head: [0; 9], head_len: 0, left: PREFACE_LEN, kind: HEADERS, in_head: true }
    }
}

impl Frames {
    /// Follows the next bytes.
    fn see(&mut self, mut bytes: &[u8], state: &ConnState) {
        if bytes.is_empty() {
            return;
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let taken = (FRAME_HEAD_LEN - self.head_len).min(bytes.len());
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            bytes = &bytes[taken..];
            if self.head_len == FRAME_HEAD_LEN {
                self.begin(state);
            }
        }
        let partial = self.head_len > 0 || (self.left > 0 && self.kind != DATA);
        state.note_frame(partial || self.in_head);
    }

    /// Reads a frame's head: 24 bits of length, type, flags, stream.
    fn begin(&mut self, state: &ConnState) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.head_len = 0;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.kind = kind;
        match kind {
            HEADERS => state.note_head(),
            RST_STREAM => state.note_reset(),
            _ => {}
        }
        self.in_head = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
    }
}

/// Follows `bytes` behind a preface, in pieces as long as their first byte says and all at once.
pub(in crate::proxy) fn fuzz_frames(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first() else { return };
    let mut wire = vec![0; PREFACE_LEN];
    wire.extend_from_slice(bytes);
    let followed = |length: usize| {
        let state = ConnState::new(Instant::now(), Duration::ZERO, Duration::ZERO);
        let mut frames = Frames::default();
        wire.chunks(length).for_each(|piece| frames.see(piece, &state));
        state.seen()
    };
    let whole = followed(wire.len());
    assert_eq!(followed(usize::from(*length).max(1)), whole, "in pieces");
    // Heads and resets again, out of what is here as a whole.
    let (mut rest, mut heads, mut resets) = (bytes, 0, 0);
    while let Some(([a, b, c, kind, ..], behind)) = rest.split_first_chunk::<FRAME_HEAD_LEN>() {
        heads += u32::from(*kind == HEADERS);
        resets += u32::from(*kind == RST_STREAM);
        let left = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = behind.get(left..).unwrap_or_default();
    }
    assert_eq!((whole.0, whole.1), (heads, resets), "what was seen");
}

#[cfg(test)]
mod tests {
    use super::super::state::Due;
    use super::*;

    fn frame(kind: u8, flags: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0, (len >> 8) as u8, len as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(FRAME_HEAD_LEN + len, 0);
        bytes
    }

    fn is_slow(state: &ConnState) -> bool {
        matches!(state.due(Instant::now(), None), Due::Head(_))
    }

    #[test]
    fn heads_are_open_until_their_last_frame_is_complete_however_the_bytes_are_cut() {
        let mut wire = vec![0; PREFACE_LEN];
        wire.extend(frame(0x4, 0, 6));
        let settled = wire.len();
        wire.extend(frame(HEADERS, 0, 20));
        wire.extend(frame(CONTINUATION, END_HEADERS, 300));
        let complete = wire.len();
        wire.extend(frame(DATA, 0, 500));
        for step in [1, 2, 7, 8, 9, 10, 64, 4096] {
            let state = ConnState::new(Instant::now(), Duration::ZERO, Duration::from_secs(60));
            let mut frames = Frames::default();
            let mut at = 0;
            for piece in wire.chunks(step) {
                frames.see(piece, &state);
                at += piece.len();
                let in_data_head = (complete + 1..complete + FRAME_HEAD_LEN).contains(&at);
                let open = at < settled || (settled < at && at < complete) || in_data_head;
                assert_eq!(is_slow(&state), open, "after {at} bytes in steps of {step}");
            }
        }
    }
}
