//! A connection whose answers are acknowledged at once.
//!
//! Owns that a server that sends an answer in pieces, and waits for the first to be acknowledged before it sends the next
//! (Nagle's algorithm), does not wait for this side's delayed acknowledgement: 40 ms, which hit one of two equal servers
//! and spare the other, as who is asked later is taken for idle. What is left is the server's own time. Where a system has
//! no such option (other than Linux), the connection is as any other.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The connection.
#[derive(Debug)]
pub(super) struct Prompt(pub(super) TcpStream);

impl Prompt {
    /// Sends the acknowledgement that is due, and the next ones at once. The system goes back to delaying them by itself,
    /// so that it is told with each read.
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        // What cannot be set costs time and nothing else.
        drop(socket2::SockRef::from(&self.0).set_tcp_quickack(true));
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        self.acknowledge();
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use http::Request;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use crate::control::admission::link::Link;
    use crate::domain::spec::BackendAddress;

    /// A server that sends head and body apart, over a connection with Nagle's algorithm.
    async fn in_pieces() -> BackendAddress {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.set_nodelay(false).unwrap();
                tokio::spawn(async move {
                    let mut asked = [0; 4096];
                    while matches!(stream.read(&mut asked).await, Ok(1..)) {
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
                            .await
                            .unwrap();
                        stream.write_all(b"{}").await.unwrap();
                    }
                });
            }
        });
        BackendAddress { host: "127.0.0.1".into(), port }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[cfg_attr(not(target_os = "linux"), ignore = "only Linux can be told to acknowledge at once")]
    async fn servers_that_send_in_pieces_wait_for_no_acknowledgement() {
        let mut links = [in_pieces().await, in_pieces().await].map(|at| Link::new(at, false));
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..60 {
            for (link, took) in links.iter_mut().zip(&mut took) {
                let began = Instant::now();
                let request = Request::get("/").body(Bytes::new()).unwrap();
                link.ask(request, Duration::from_secs(10)).await.unwrap();
                took.push(began.elapsed());
                // As the turns of a check beside other work do.
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        for took in &mut took {
            took.sort_unstable();
            assert!(took[took.len() / 2] < Duration::from_millis(30), "{took:?}");
        }
    }
}
