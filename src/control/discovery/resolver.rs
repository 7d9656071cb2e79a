//! Asking name servers (RFC 1035), with the time to live of what they say.
//!
//! Owns the exchange: UDP first, TCP where the answer does not fit, the next server where one is silent. The
//! system's resolver does not tell the time to live, and remembers. Never remembers anything itself, and adds
//! no search domain: names are whole.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// How long one server may take for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// How often all servers are tried.
const ROUNDS: usize = 2;
/// The longest answer over UDP.
const UDP_BYTES_MAX: usize = 4096;
/// The system's list of servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;
const DNS_PORT: u16 = 53;
/// Where a message says, and how, that the rest of it did not fit.
const FLAGS: usize = 2;
const TRUNCATED: u8 = 0x02;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// An address.
    Address(IpAddr),
    /// A service: priority, port and the name of the host.
    Service(u16, u16, String),
}

/// The records of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) data: Vec<Data>,
    /// The shortest time to live among them; `None` where there are none.
    pub(super) ttl: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("`{0}` is no name that can be looked up")]
    Name(String),
    #[error("no name server is known: {RESOLV_CONF} names none")]
    NoServer,
    #[error("{0} says that there is no name `{1}`")]
    NoSuchName(SocketAddr, String),
    #[error("{0} does not say what `{1}` is ({2})")]
    Refused(SocketAddr, String, &'static str),
    #[error("{0} does not answer: {1}")]
    Silent(SocketAddr, #[source] io::Error),
}

/// What is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    V4,
    V6,
    Service,
}

impl Kind {
    fn wire(self) -> TYPE {
        match self {
            Self::V4 => TYPE::A,
            Self::V6 => TYPE::AAAA,
            Self::Service => TYPE::SRV,
        }
    }
}

/// The servers that are asked: `server`, or those of the system as they are now.
pub(super) async fn servers(server: Option<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(server) = server {
        return vec![server];
    }
    let read = tokio::task::spawn_blocking(|| {
        crate::control::store::read(RESOLV_CONF.as_ref(), RESOLV_CONF_BYTES_MAX)
    });
    match read.await {
        Ok(Ok(Some(text))) => nameservers(&String::from_utf8_lossy(&text)),
        _ => Vec::new(),
    }
}

/// The `nameserver` lines of a `resolv.conf`.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let is_server = words.next() == Some("nameserver");
        let ip: IpAddr = words.next().filter(|_| is_server)?.parse().ok()?;
        Some(SocketAddr::new(ip, DNS_PORT))
    };
    text.lines().filter_map(server).collect()
}

/// Looks up the records of one kind of a name.
pub(super) async fn lookup(
    servers: &[SocketAddr],
    name: &str,
    kind: Kind,
) -> Result<Records, LookupError> {
    let mut last = LookupError::NoServer;
    for server in (0..ROUNDS).flat_map(|_| servers) {
        match ask(*server, name, kind).await {
            Ok(records) => return Ok(records),
            Err(error @ (LookupError::Name(_) | LookupError::NoSuchName(..))) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask(server: SocketAddr, name: &str, kind: Kind) -> Result<Records, LookupError> {
    let id = fastrand::u16(..);
    let query = query(id, name, kind).ok_or_else(|| LookupError::Name(name.to_owned()))?;
    let silent = |error: io::Error| LookupError::Silent(server, error);
    let mut answer = in_time(over_udp(server, &query, id)).await.map_err(silent)?;
    if answer.get(FLAGS).is_some_and(|flags| flags & TRUNCATED != 0) {
        answer = in_time(over_tcp(server, &query)).await.map_err(silent)?;
    }
    read(server, name, kind, id, &answer)
}

async fn in_time<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let elapsed = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(ANSWER_TIME, asked).await.map_err(elapsed)?
}

fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name.trim_end_matches('.')).ok()?;
    packet.questions.push(Question::new(name, kind.wire().into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

async fn over_udp(server: SocketAddr, query: &[u8], id: u16) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What belongs to an earlier question, or to nobody's, is passed over.
        if buffer.get(..2) == Some(&id.to_be_bytes()) && length > 2 {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Reads an answer: the records of the name, and of those that it stands for.
fn read(
    server: SocketAddr,
    name: &str,
    kind: Kind,
    id: u16,
    answer: &[u8],
) -> Result<Records, LookupError> {
    let refused = |why| LookupError::Refused(server, name.to_owned(), why);
    let packet = Packet::parse(answer).map_err(|_unsound| refused("the answer is not sound"))?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return Err(refused("it is no answer to what was asked"));
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Err(LookupError::NoSuchName(server, name.to_owned())),
        RCODE::ServerFailure => return Err(refused("SERVFAIL")),
        RCODE::Refused => return Err(refused("REFUSED")),
        _ => return Err(refused("an error")),
    }
    let mut names = BTreeSet::from([plain(name)]);
    let mut records = Records::default();
    for record in &packet.answers {
        let is_ours = names.contains(&plain(&record.name.to_string()));
        let data = match (&record.rdata, kind) {
            (RData::CNAME(other), _) if is_ours => {
                names.insert(plain(&other.0.to_string()));
                continue;
            }
            (RData::A(a), Kind::V4) => Data::Address(Ipv4Addr::from(a.address).into()),
            (RData::AAAA(a), Kind::V6) => Data::Address(Ipv6Addr::from(a.address).into()),
            (RData::SRV(srv), Kind::Service) => {
                Data::Service(srv.priority, srv.port, plain(&srv.target.to_string()))
            }
            _ => continue,
        };
        if is_ours {
            let ttl = Duration::from_secs(record.ttl.into());
            records.ttl = Some(records.ttl.map_or(ttl, |before| before.min(ttl)));
            records.data.push(data);
        }
    }
    Ok(records)
}

/// A name to be compared.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, CNAME, SRV};

    use super::*;

    const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

    fn name(text: &str) -> Name<'_> {
        Name::new(text).unwrap()
    }

    fn answer(records: Vec<(&'static str, u32, RData<'static>)>) -> Vec<u8> {
        let mut packet = Packet::new_reply(7);
        packet.set_flags(PacketFlag::RESPONSE);
        packet.answers = records
            .into_iter()
            .map(|(owner, ttl, data)| ResourceRecord::new(name(owner), CLASS::IN, ttl, data))
            .collect();
        packet.build_bytes_vec().unwrap()
    }

    fn a(last: u8) -> RData<'static> {
        RData::A(A { address: u32::from_be_bytes([10, 0, 0, last]) })
    }

    #[test]
    fn addresses_are_those_of_the_name_and_of_what_it_stands_for() {
        let bytes = answer(vec![
            ("fleet.internal", 300, RData::CNAME(CNAME(name("pods.internal")))),
            ("PODS.internal", 30, a(1)),
            ("pods.internal", 60, a(2)),
            ("other.internal", 1, a(9)),
        ]);
        let records = read(SERVER, "fleet.internal.", Kind::V4, 7, &bytes).unwrap();
        let address = |last| Data::Address(IpAddr::from([10, 0, 0, last]));
        assert_eq!(records.data, [address(1), address(2)]);
        assert_eq!(records.ttl, Some(Duration::from_secs(30)));
        assert_eq!(read(SERVER, "x", Kind::V6, 7, &answer(vec![])).unwrap(), Records::default());
    }

    #[test]
    fn services_have_their_port_and_host() {
        let srv = SRV { priority: 1, weight: 2, port: 8080, target: name("a.internal") };
        let bytes = answer(vec![("_p._tcp.x", 5, RData::SRV(srv))]);
        let records = read(SERVER, "_p._tcp.x", Kind::Service, 7, &bytes).unwrap();
        assert_eq!(records.data, [Data::Service(1, 8080, "a.internal".into())]);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let mut packet = Packet::new_reply(7);
        *packet.rcode_mut() = RCODE::NameError;
        let missing = packet.build_bytes_vec().unwrap();
        let found = read(SERVER, "x", Kind::V4, 7, &missing);
        assert!(matches!(found, Err(LookupError::NoSuchName(..))), "{found:?}");
        let good = answer(vec![]);
        for (id, bytes) in [(8, &good[..]), (7, &good[..5]), (7, &[])] {
            assert!(matches!(
                read(SERVER, "x", Kind::V4, id, bytes),
                Err(LookupError::Refused(..))
            ));
        }
        assert!(query(1, &"a".repeat(300), Kind::V4).is_none());
    }

    #[test]
    fn the_servers_of_the_system_are_read() {
        let text =
            "# nameserver 9.9.9.9\nnameserver 10.0.0.2\nsearch x\nnameserver ::1 \nnameserver x\n";
        assert_eq!(
            nameservers(text),
            ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()]
        );
    }
}
