//! Prediction servers that a name stands for: A and AAAA records, or SRV records.
//!
//! Owns what becomes of the records. That a name does not exist is a failed answer: what was known stays. Of
//! services, those of the first priority are taken.

use std::net::SocketAddr;
use std::time::Duration;

use super::resolver::{Data, Kind, LookupError, Records, lookup, servers};
use super::source::{Look, Source};
use crate::domain::discovery::{Answer, Endpoint, Listing};
use crate::domain::spec::{BackendAddress, DiscoverySpec, DnsSpec};

/// No answer is good for less, whatever its time to live is.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Hosts of services that are looked up.
const HOSTS_MAX: usize = 256;

/// A name.
#[derive(Debug)]
pub(super) struct Lookup {
    dns: DnsSpec,
    spec: DiscoverySpec,
    is_service: bool,
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Found {
    listing: Listing,
    ttl: Option<Duration>,
    trouble: Option<String>,
}

impl Lookup {
    /// The addresses of a name.
    pub(super) fn addresses(dns: DnsSpec, spec: DiscoverySpec) -> Self {
        Self { dns, spec, is_service: false }
    }

    /// The services of a name.
    pub(super) fn services(dns: DnsSpec, spec: DiscoverySpec) -> Self {
        Self { dns, spec, is_service: true }
    }

    async fn services_of(&self, servers: &[SocketAddr]) -> Result<Found, LookupError> {
        let records = lookup(servers, &self.dns.name, Kind::Service).await?;
        let mut found = Found { ttl: records.ttl, ..Found::default() };
        let services = records.data.into_iter().filter_map(|data| match data {
            // A lone dot says that there is no such service (RFC 2782).
            Data::Service(priority, port, host) if !host.is_empty() => Some((priority, port, host)),
            Data::Service(..) | Data::Address(_) => None,
        });
        let services: Vec<_> = services.collect();
        let first = services.iter().map(|(priority, ..)| *priority).min();
        let first = services.into_iter().filter(|(priority, ..)| Some(*priority) == first);
        let hosts: Vec<_> = first.map(|(_, port, host)| (port, host)).collect();
        if hosts.len() > HOSTS_MAX {
            found.trouble = Some(format!("{} services, more than {HOSTS_MAX}", hosts.len()));
        }
        for (port, host) in hosts.into_iter().take(HOSTS_MAX) {
            if let Err(error) = self.addresses_of(servers, &host, port, &mut found).await {
                found.trouble.get_or_insert_with(|| error.to_string());
            }
        }
        Ok(found)
    }

    /// Adds the addresses of a host; an error when neither kind could be had.
    async fn addresses_of(
        &self,
        servers: &[SocketAddr],
        host: &str,
        port: u16,
        found: &mut Found,
    ) -> Result<(), LookupError> {
        let (v4, v6) =
            tokio::join!(lookup(servers, host, Kind::V4), lookup(servers, host, Kind::V6));
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => {
                self.add(v4, port, found);
                self.add(v6, port, found);
                Ok(())
            }
            (Ok(records), Err(error)) | (Err(error), Ok(records)) => {
                self.add(records, port, found);
                found.trouble.get_or_insert_with(|| error.to_string());
                Ok(())
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn add(&self, records: Records, port: u16, found: &mut Found) {
        found.ttl = found.ttl.into_iter().chain(records.ttl).min();
        for data in records.data {
            let Data::Address(ip) = data else { continue };
            let serves = self.spec.model.clone().zip(self.spec.version.clone());
            let endpoint = Endpoint { serves: serves.into_iter().collect(), ..Endpoint::default() };
            found.listing.backend(BackendAddress { host: ip.to_string(), port }, endpoint);
        }
    }
}

impl Source for Lookup {
    async fn look(&mut self) -> Look {
        let servers = servers(self.dns.server).await;
        let found = if self.is_service {
            self.services_of(&servers).await
        } else {
            let mut found = Found::default();
            let DnsSpec { name, port, .. } = &self.dns;
            self.addresses_of(&servers, name, *port, &mut found).await.map(|()| found)
        };
        match found {
            Err(error) => Answer::Failed(error.to_string()).into(),
            Ok(Found { listing, ttl, trouble }) => {
                let answer = match trouble {
                    None => Answer::Whole(listing),
                    Some(why) => Answer::Part(listing, why),
                };
                Look { answer, good_for: ttl.map(|ttl| ttl.max(TTL_MIN)) }
            }
        }
    }
}
