//! Listening sockets, one a worker on the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// Sockets that hold their address but do not listen yet: a client that comes before the gateway is
/// ready is refused by the kernel instead of waiting.
#[derive(Debug)]
pub struct BoundSockets {
    address: SocketAddr,
    sockets: Vec<Socket>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {hint}")]
pub struct ListenError {
    address: SocketAddr,
    hint: &'static str,
    #[source]
    source: io::Error,
}

/// Binds `count` sockets to `address`; port 0 takes a free port, the same for all.
///
/// # Errors
///
/// [`ListenError`] for an address that is taken, not this machine's, or not allowed.
pub fn bind(address: SocketAddr, count: usize) -> Result<BoundSockets, ListenError> {
    let fail = |source: io::Error| ListenError { address, hint: hint(&source), source };
    // Other processes of the same user could share the address through SO_REUSEPORT, and each would
    // get a part of the connections. A socket without that option finds them.
    let probe = socket(address, false).map_err(fail)?;
    probe.bind(&address.into()).and_then(|()| probe.listen(1)).map_err(fail)?;
    let actual = local_address(&probe).map_err(fail)?;
    drop(probe);
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let socket = socket(actual, true).map_err(fail)?;
        socket.bind(&actual.into()).map_err(fail)?;
        sockets.push(socket);
    }
    Ok(BoundSockets { address: actual, sockets })
}

impl BoundSockets {
    /// The address, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the sockets apart, one for each worker.
    pub fn into_sockets(self) -> impl Iterator<Item = BoundSocket> {
        let address = self.address;
        self.sockets.into_iter().map(move |socket| BoundSocket { address, socket })
    }
}

/// One worker's socket.
#[derive(Debug)]
pub struct BoundSocket {
    address: SocketAddr,
    socket: Socket,
}

impl BoundSocket {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// [`ListenError`] when the system refuses.
    pub fn listen(self) -> Result<TcpListener, ListenError> {
        let address = self.address;
        self.socket.listen(BACKLOG).map_err(|source| ListenError {
            address,
            hint: hint(&source),
            source,
        })?;
        Ok(self.socket.into())
    }
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process has the address; stop it or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "the address does not belong to this machine",
        _ => "the system refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_found_even_when_the_other_shares_it() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = first.address();
        let sockets: Vec<_> = first.into_sockets().map(|s| s.listen().unwrap()).collect();
        let error = bind(address, 1).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(sockets);
        bind(address, 1).unwrap();
    }
}
