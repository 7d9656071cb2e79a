//! Registrations: prediction servers that say themselves where they are, for as long as they renew.
//!
//! Owns who is registered and until when. A registration names one address, and one version where it says
//! so; its id follows from both, so that saying the same again renews. After a restart every registration
//! has its whole lease again: nobody could renew meanwhile. Pure but for its types; never asks anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::control::steady::millis;
use crate::domain::dialect::Dialect;
use crate::domain::discovery::{Endpoint, Listing, Provenance, Release};
use crate::domain::ids::SourceName;
use crate::domain::spec::{BackendAddress, LeaseSpec};

/// How often the registrations are reported though nothing has changed.
const REPORT_MS: u64 = 10_000;

/// What a prediction server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The source that it registers with; `None` for the first one.
    pub source: Option<SourceName>,
    /// Where it is.
    pub address: BackendAddress,
    /// The version that it serves.
    pub serves: Option<Release>,
    /// What it speaks.
    pub dialect: Option<Dialect>,
    /// What it says of how that version came about.
    pub provenance: Provenance,
}

impl Registration {
    /// What it says of its version besides the name.
    pub(super) fn said(&self) -> BTreeMap<Release, Provenance> {
        let said = self.serves.clone().filter(|_| !self.provenance.is_unknown());
        said.map(|release| (release, self.provenance.clone())).into_iter().collect()
    }

    /// Whether it says something else than `before`, which has the same address and version.
    fn differs_from(&self, before: &Self) -> bool {
        (self.dialect, &self.provenance) != (before.dialect, &before.provenance)
    }
}

/// A registration that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The name by which it is renewed and ended.
    pub id: String,
    /// The source.
    pub source: SourceName,
    /// How long it holds unless it is renewed.
    pub lease: Duration,
    /// Whether it is a new one.
    pub is_new: bool,
}

/// Why there is no registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// No source takes registrations.
    #[error("no source takes registrations; configure one: [discovery.NAME] with `lease`")]
    NoSource,
    /// The source that is named takes none.
    #[error("there is no source `{0}` with `lease`")]
    UnknownSource(SourceName),
    /// There is none of that id.
    #[error("there is no such registration: it has expired or never was; register again")]
    UnknownId,
    /// There are too many.
    #[error("there are {0} registrations already; raise `registrations` or remove some")]
    Full(usize),
    /// It could not be written to the disk.
    #[error("the registration cannot be written to `data_dir`; try again")]
    Unsaved,
    /// Too many orders wait.
    #[error("too many registrations wait; try again")]
    Busy,
    /// The gateway starts or ends.
    #[error("the gateway takes no registrations: it starts or ends")]
    Closed,
}

impl RegisterError {
    /// One word.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoSource | Self::UnknownSource(_) => "source",
            Self::UnknownId => "unknown",
            Self::Full(_) => "full",
            Self::Unsaved => "unsaved",
            Self::Busy => "busy",
            Self::Closed => "closed",
        }
    }
}

/// The registrations of one source.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    name: SourceName,
    spec: LeaseSpec,
    held: BTreeMap<String, Held>,
    reported_ms: Option<u64>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) registration: Registration,
    expires_ms: u64,
}

impl Leases {
    /// Those that were held before the start.
    pub(super) fn restored(
        name: SourceName,
        spec: LeaseSpec,
        before: Vec<Registration>,
        now_ms: u64,
    ) -> Self {
        let mut leases = Self { name, spec, held: BTreeMap::new(), reported_ms: None };
        for registration in before {
            // More than there may be now are left out.
            drop(leases.add(now_ms, registration));
        }
        leases
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Registration> {
        self.held.values().map(|held| &held.registration)
    }

    pub(super) fn add(
        &mut self,
        now_ms: u64,
        registration: Registration,
    ) -> Result<Granted, RegisterError> {
        let id = id_of(&self.name, &registration);
        let known = self.held.get(&id);
        let is_new = known.is_none_or(|held| registration.differs_from(&held.registration));
        if known.is_none() && self.held.len() >= self.spec.registrations {
            return Err(RegisterError::Full(self.held.len()));
        }
        let expires_ms = self.expiry(now_ms);
        self.held.insert(id.clone(), Held { registration, expires_ms });
        Ok(Granted { is_new, ..self.granted(id) })
    }

    pub(super) fn renew(&mut self, now_ms: u64, id: &str) -> Option<Granted> {
        let expires_ms = self.expiry(now_ms);
        self.held.get_mut(id)?.expires_ms = expires_ms;
        Some(self.granted(id.to_owned()))
    }

    /// Ends one; also returns its address unless another registration has the same.
    pub(super) fn remove(&mut self, id: &str) -> Option<(Granted, Option<BackendAddress>)> {
        let held = self.held.remove(id)?;
        let address = held.registration.address;
        let used = self.held().any(|registration| registration.address == address);
        Some((self.granted(id.to_owned()), (!used).then_some(address)))
    }

    /// Lets go of what was not renewed; whether there was any.
    pub(super) fn expire(&mut self, now_ms: u64) -> bool {
        let before = self.held.len();
        self.held.retain(|_, held| held.expires_ms > now_ms);
        self.held.len() < before
    }

    /// Whether a report is due though nothing has changed.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.reported_ms.is_none_or(|last| now_ms.saturating_sub(last) >= REPORT_MS)
    }

    /// All that is held.
    pub(super) fn listing(&mut self, now_ms: u64) -> Listing {
        self.reported_ms = Some(now_ms);
        let mut listing = Listing::default();
        for registration in self.held() {
            let endpoint = Endpoint {
                serves: registration.serves.iter().cloned().collect(),
                dialect: registration.dialect,
                provenance: registration.said(),
            };
            listing.backend(registration.address.clone(), endpoint);
        }
        listing
    }

    fn expiry(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(millis(self.spec.lease))
    }

    fn granted(&self, id: String) -> Granted {
        Granted { id, source: self.name.clone(), lease: self.spec.lease, is_new: false }
    }
}

fn id_of(source: &SourceName, registration: &Registration) -> String {
    let (model, version) = match &registration.serves {
        Some((model, version)) => (model.as_str(), version.as_str()),
        None => ("", ""),
    };
    let text = format!("{source}\n{}\n{model}\n{version}", registration.address.authority());
    format!("{:016x}", XxHash3_64::oneshot(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ModelName, VersionName};

    const SPEC: LeaseSpec = LeaseSpec { lease: Duration::from_secs(30), registrations: 2 };

    fn registration(port: u16, version: Option<&str>) -> Registration {
        Registration {
            source: None,
            address: BackendAddress { host: "10.0.0.1".into(), port },
            serves: version.map(|version| (ModelName::new("fraud"), VersionName::new(version))),
            dialect: None,
            provenance: Provenance::default(),
        }
    }

    fn leases() -> Leases {
        Leases::restored(SourceName::new("fleet"), SPEC, Vec::new(), 0)
    }

    #[test]
    fn a_registration_holds_while_it_is_renewed_by_id_or_by_saying_it_again() {
        let mut leases = leases();
        let first = leases.add(0, registration(1, None)).unwrap();
        assert!(first.is_new && !leases.expire(29_999));
        assert!(leases.renew(29_999, &first.id).is_some());
        assert!(!leases.expire(59_998));
        let again = leases.add(59_998, registration(1, None)).unwrap();
        assert_eq!((again.id, again.is_new), (first.id.clone(), false));
        assert!(leases.expire(89_998));
        assert_eq!((leases.listing(89_998).len(), leases.renew(0, &first.id)), (0, None));
    }

    #[test]
    fn what_is_said_of_a_version_is_listed_with_it_and_news_where_it_changes() {
        let mut leases = leases();
        let mut one = registration(1, Some("v1"));
        one.provenance.publisher = Some("nightly".to_owned());
        assert!(leases.add(0, one.clone()).unwrap().is_new);
        assert!(!leases.add(1, one.clone()).unwrap().is_new);
        one.provenance.trained_ms = Some(7);
        assert!(leases.add(2, one.clone()).unwrap().is_new);
        let listing = leases.listing(2);
        let (_, endpoint) = listing.backends().next().unwrap();
        let expected = (one.serves.unwrap(), one.provenance);
        assert_eq!(endpoint.provenance, BTreeMap::from([expected]));
    }

    #[test]
    fn their_number_is_bounded_and_renewing_needs_no_room() {
        let mut leases = leases();
        leases.add(0, registration(1, None)).unwrap();
        leases.add(0, registration(2, None)).unwrap();
        assert_eq!(leases.add(0, registration(3, None)), Err(RegisterError::Full(2)));
        assert!(leases.add(0, registration(2, None)).is_ok());
    }

    #[test]
    fn an_address_goes_with_its_last_registration() {
        let mut leases = leases();
        let one = leases.add(0, registration(1, Some("v1"))).unwrap();
        let two = leases.add(0, registration(1, Some("v2"))).unwrap();
        let listing = leases.listing(0);
        let (_, endpoint) = listing.backends().next().unwrap();
        assert_eq!((listing.len(), endpoint.serves.len()), (1, 2));
        assert_eq!(leases.remove(&one.id).unwrap().1, None);
        assert_eq!(leases.remove(&two.id).unwrap().1, Some(registration(1, None).address));
        assert!(leases.remove(&two.id).is_none());
    }

    #[test]
    fn after_a_restart_each_has_its_whole_lease_again() {
        let before = vec![registration(1, None), registration(2, None), registration(3, None)];
        let mut leases = Leases::restored(SourceName::new("fleet"), SPEC, before, 1_000_000);
        assert_eq!(leases.held().count(), 2, "as many as there may be now");
        assert!(!leases.expire(1_029_999));
        assert!(leases.expire(1_030_000));
    }
}
