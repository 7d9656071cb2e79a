//! Where requests are sent.
//!
//! Owns the reading of `http://HOST:PORT`. Never connects.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderValue, Uri};

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Target {
    host: String,
    port: u16,
    header: HeaderValue,
}

impl Target {
    /// Reads a URL of a server.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let Some(authority) = authority.filter(|at| !at.as_str().contains('@')) else {
            return Err(format!("write http://HOST:PORT instead of `{url}`"));
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!(
                "`{url}` has a path: the recorded paths are used, write http://HOST:PORT"
            ));
        }
        let header = HeaderValue::from_str(authority.as_str());
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            header: header.map_err(|_| format!("`{url}` has a strange host"))?,
        })
    }

    /// The gateway that listens on `listen`, as seen from its own machine.
    ///
    /// # Errors
    /// When the port is only known at run time.
    pub(super) fn gateway(listen: SocketAddr) -> Result<Self, String> {
        if listen.port() == 0 {
            return Err("`listen` leaves the port open: say with --url where to send to".to_owned());
        }
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Self::parse(&format!("http://{}", SocketAddr::new(ip, listen.port())))
    }

    /// A host name or an IP address, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The value of `host`.
    pub(super) fn host_header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.header.to_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_everything_else_is_refused() {
        let read = |url: &str| {
            let target = Target::parse(url)?;
            Ok::<_, String>((target.host().to_owned(), target.port(), target.to_string()))
        };
        let wanted = |host: &str, port, text: &str| Ok((host.to_owned(), port, text.to_owned()));
        assert_eq!(read("http://a:8080"), wanted("a", 8080, "http://a:8080"));
        assert_eq!(read("http://[::1]:7/"), wanted("::1", 7, "http://[::1]:7"));
        assert_eq!(read("http://a"), wanted("a", 80, "http://a"));
        for url in ["a:8080", "https://a", "http://", "http://u@a", "http://a/x", "http://a?x", ""]
        {
            assert!(read(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_gateway_on_every_address_is_asked_on_the_loopback_one() {
        let of = |listen: &str| Target::gateway(listen.parse().unwrap()).map(|t| t.to_string());
        assert_eq!(of("0.0.0.0:80"), Ok("http://127.0.0.1:80".to_owned()));
        assert_eq!(of("[::]:81"), Ok("http://[::1]:81".to_owned()));
        assert_eq!(of("10.0.0.1:82"), Ok("http://10.0.0.1:82".to_owned()));
        assert!(of("127.0.0.1:0").is_err());
    }
}
