//! Servers that a name stands for, with a small name server of the test's own.

use std::net::UdpSocket;
use std::sync::Arc;

use parking_lot::Mutex;
use simple_dns::rdata::{A, RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord, TYPE};

use super::*;

/// What the name server answers.
#[derive(Clone)]
pub(crate) enum Zone {
    /// These services of the name, all on this host.
    Ports(Vec<u16>),
    /// These last bytes of 127.0.0.x for the name.
    Hosts(Vec<u8>),
    NoSuchName,
    Broken,
    Garbage,
}

pub(crate) struct NameServer {
    pub(crate) address: std::net::SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<usize>>,
}

impl NameServer {
    pub(crate) fn new(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, asked) = (Arc::new(Mutex::new(zone)), Arc::new(Mutex::new(0)));
        let (shown, count) = (Arc::clone(&zone), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                *count.lock() += 1;
                let answer = answer(&buffer[..length], &shown.lock());
                socket.send_to(&answer, from).unwrap();
            }
        });
        Self { address, zone, asked }
    }

    pub(crate) fn set(&self, zone: Zone) {
        *self.zone.lock() = zone;
    }
}

fn answer(query: &[u8], zone: &Zone) -> Vec<u8> {
    let mut packet = Packet::parse(query).unwrap().into_reply();
    packet.set_flags(PacketFlag::RESPONSE);
    let question = packet.questions[0].clone();
    let name = question.qname.to_string();
    let wanted = |kind: TYPE| question.qtype == kind.into();
    let a = |last: u8| RData::A(A { address: u32::from_be_bytes([127, 0, 0, last]) });
    let mut data = Vec::new();
    match zone {
        Zone::NoSuchName => *packet.rcode_mut() = RCODE::NameError,
        Zone::Broken => *packet.rcode_mut() = RCODE::ServerFailure,
        Zone::Garbage => return [&query[..2], &[0x80; 9]].concat(),
        Zone::Hosts(hosts) if wanted(TYPE::A) => data.extend(hosts.iter().map(|last| a(*last))),
        Zone::Ports(_) if wanted(TYPE::A) => data.push(a(1)),
        Zone::Ports(ports) if wanted(TYPE::SRV) => {
            data.extend(ports.iter().map(|port| {
                let target = Name::new("host.test").unwrap();
                RData::SRV(SRV { priority: 1, weight: 1, port: *port, target })
            }));
        }
        Zone::Hosts(_) | Zone::Ports(_) => {}
    }
    let owner = Name::new(&name).unwrap();
    packet.answers =
        data.into_iter().map(|it| ResourceRecord::new(owner.clone(), CLASS::IN, 1, it)).collect();
    packet.build_bytes_vec().unwrap()
}

#[test]
fn services_of_a_name_are_members_and_a_name_that_vanishes_changes_nothing() {
    let (one, two) = (named("one"), named("two"));
    let ports = |backends: &[&Backend]| {
        Zone::Ports(backends.iter().map(|backend| backend.address.port()).collect())
    };
    let server = NameServer::new(ports(&[&one]));
    let gateway = in_dir(&format!(
        "srv = \"_p._tcp.fleet.test\"\nserver = \"{}\"\ninterval = \"200ms\"",
        server.address
    ));
    assert_eq!(answers(&gateway), ["one"]);
    server.set(ports(&[&one, &two]));
    wait_for_answers(&gateway, &["one", "two"]);
    for (zone, clue) in [
        (Zone::NoSuchName, "no name"),
        (Zone::Broken, "SERVFAIL"),
        (Zone::Garbage, "not sound"),
        (Zone::Ports(vec![]), "empty"),
    ] {
        server.set(zone);
        eventually(clue, || {
            let why = source(&gateway, "fleet")["why"].as_str()?.to_owned();
            why.contains(clue).then_some(())
        });
        assert_eq!(answers(&gateway), ["one", "two"], "{clue}");
    }
    server.set(ports(&[&two]));
    wait_for_answers(&gateway, &["two"]);
}

#[test]
fn addresses_of_a_name_are_members() {
    let server = NameServer::new(Zone::Hosts(vec![1, 2]));
    let gateway = in_dir(&format!("dns = \"fleet.test:9\"\nserver = \"{}\"", server.address));
    let shown = source(&gateway, "fleet");
    let backends: Vec<_> =
        shown["things"].as_array().unwrap().iter().map(|thing| &thing["backend"]).collect();
    assert_eq!(backends, ["http://127.0.0.1:9", "http://127.0.0.2:9"]);
    let before = *server.asked.lock();
    // The time to live is a second, the interval half a minute.
    eventually("it is asked again when the time to live is over", || {
        (*server.asked.lock() > before + 1).then_some(())
    });
}
