//! Which of several interchangeable backends gets a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::domain::spec::Balance;
use crate::snapshot::{Backend, RemoteRuntime};

/// Chooses a backend that is not among `failed`, unless all are.
pub(super) fn pick<'a>(runtime: &'a RemoteRuntime, failed: &[Arc<Backend>]) -> &'a Arc<Backend> {
    let backends = &runtime.backends;
    if let [only] = &**backends {
        return only;
    }
    let first = runtime.turn.0.fetch_add(1, Ordering::Relaxed) % backends.len();
    // Starting at the turn spreads requests over backends that are equally busy.
    let candidates = || {
        let (before, from) = backends.split_at(first);
        from.iter().chain(before).filter(|b| !failed.iter().any(|f| Arc::ptr_eq(f, b)))
    };
    let chosen = match runtime.balance {
        Balance::RoundRobin => candidates().next(),
        Balance::LeastInFlight => candidates().min_by_key(|backend| backend.in_flight()),
    };
    chosen.unwrap_or(&backends[first])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::BackendAddress;

    fn runtime(count: u16, balance: Balance) -> RemoteRuntime {
        let backend = |port| {
            let address = BackendAddress { host: "127.0.0.1".into(), port };
            Arc::new(Backend::new(address).unwrap())
        };
        RemoteRuntime {
            backends: (1..=count).map(backend).collect(),
            balance,
            timeouts: Default::default(),
            keep_alive: Default::default(),
            http2: false,
            spoken: Default::default(),
            turn: Default::default(),
        }
    }

    #[test]
    fn round_robin_is_even_and_passes_over_what_failed() {
        let runtime = runtime(3, Balance::RoundRobin);
        let mut counts = [0; 3];
        for _ in 0..300 {
            counts[usize::from(pick(&runtime, &[]).address.port) - 1] += 1;
        }
        assert_eq!(counts, [100; 3]);
        let failed = [Arc::clone(&runtime.backends[0]), Arc::clone(&runtime.backends[2])];
        for _ in 0..5 {
            assert_eq!(pick(&runtime, &failed).address.port, 2);
        }
        let all: Vec<_> = runtime.backends.to_vec();
        pick(&runtime, &all);
    }

    #[test]
    fn the_least_busy_backend_is_chosen_and_ties_are_spread() {
        let runtime = runtime(3, Balance::LeastInFlight);
        let guards: Vec<_> = (0..30).map(|_| pick(&runtime, &[]).begin()).collect();
        assert!(runtime.backends.iter().all(|b| b.in_flight() == 10), "{:?}", runtime.backends);
        drop(guards);
        let _busy = [runtime.backends[0].begin(), runtime.backends[1].begin()];
        for _ in 0..5 {
            assert_eq!(pick(&runtime, &[]).address.port, 3);
        }
    }
}
