//! Who meets a version on trial, and with whom it is compared.
//!
//! Owns the division of keys into ten thousand buckets. The candidate owns the first `w` of them and the control
//! slice, which the champion answers, as many from the middle on: two samples of the same size, drawn alike,
//! begun at the same moment. Within a rollout `w` only grows, so that no caller who has met the candidate
//! goes back; another rollout has another salt, so that other callers meet the next candidate first. Never
//! knows a version.
//!
//! ```text
//! 0        w                   5000     5000+w              10000
//! ├candidate┤······················├─control─┤··················┤
//! ```

use twox_hash::XxHash3_64;

use super::split::Key;
use crate::domain::ids::{Entropy, Permille};

/// Buckets of a rollout.
const BUCKETS: u64 = 10_000;
/// Where the control slice begins: no candidate reaches it.
const CONTROL: u64 = BUCKETS / 2;

/// The buckets of one rollout at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    salt: u64,
    width: u64,
}

/// A part of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// The candidate answers.
    Candidate,
    /// The champion answers, and is compared with the candidate.
    Control,
    /// The champion answers.
    Rest,
}

impl Buckets {
    /// The candidate gets `share`, at most half, and the control slice as much.
    pub fn new(salt: u64, share: Permille) -> Self {
        let width = u64::from(share.thousandths()) * BUCKETS / 1000;
        Self { salt, width: width.min(CONTROL) }
    }

    /// Whose a request is.
    pub(super) fn of(&self, key: Key<'_>) -> Arm {
        match key {
            Key::Sticky(text) => self.arm_of(text),
            Key::Entropy(entropy) => self.arm_of_request(entropy),
        }
    }

    /// Whose the requests of a caller are, by what identifies the caller.
    pub fn arm_of(&self, key: &str) -> Arm {
        self.arm(XxHash3_64::oneshot_with_seed(self.salt, key.as_bytes()))
    }

    /// Whose one request is, where nothing identifies its caller.
    pub fn arm_of_request(&self, Entropy(bits): Entropy) -> Arm {
        self.arm(XxHash3_64::oneshot_with_seed(self.salt, &bits.to_le_bytes()))
    }

    fn arm(&self, hash: u64) -> Arm {
        // The upper bits times the number of buckets: uniform to one in 2^50.
        let bucket = ((hash >> 14) * BUCKETS) >> 50;
        if bucket < self.width {
            Arm::Candidate
        } else if (CONTROL..CONTROL + self.width).contains(&bucket) {
            Arm::Control
        } else {
            Arm::Rest
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(thousandths: u16) -> Permille {
        Permille::saturating(thousandths)
    }

    proptest! {
        #[test]
        fn no_caller_leaves_an_arm_while_the_share_grows(
            salt: u64, key: String, from in 0u16..=500, more in 0u16..=500,
        ) {
            let before = Buckets::new(salt, share(from)).arm_of(&key);
            let after = Buckets::new(salt, share((from + more).min(500))).arm_of(&key);
            prop_assert!(before == Arm::Rest || before == after, "{before:?} became {after:?}");
        }

        #[test]
        fn a_share_above_half_still_leaves_the_control_its_own(salt: u64, key: String) {
            let arm = Buckets::new(salt, Permille::ALL).arm_of(&key);
            prop_assert_ne!(arm, Arm::Rest);
        }
    }

    #[test]
    fn candidate_and_control_get_the_same_part_and_no_more_than_their_share() {
        for (thousandths, n) in [(10, 1_000_000), (50, 200_000), (500, 20_000)] {
            let buckets = Buckets::new(7, share(thousandths));
            let (mut candidate, mut control) = (0, 0);
            for request in 0..n {
                match buckets.arm_of_request(Entropy(request)) {
                    Arm::Candidate => candidate += 1,
                    Arm::Control => control += 1,
                    Arm::Rest => {}
                }
            }
            let expected = n * u64::from(thousandths) / 1000;
            for drawn in [candidate, control] {
                let off = i64::abs_diff(drawn, expected.cast_signed());
                // Five standard deviations of the binomial distribution: its variance is below its mean.
                assert!(off * off < 25 * expected, "{drawn} of {n} at {thousandths}");
            }
        }
    }

    #[test]
    fn another_salt_meets_other_callers() {
        let meets = |salt, key: usize| {
            Buckets::new(salt, share(100)).arm_of(&format!("user-{key}")) == Arm::Candidate
        };
        let both = (0..10_000).filter(|&key| meets(1, key) && meets(2, key)).count();
        assert!((50..200).contains(&both), "{both} of 10000 meet both; a tenth of a tenth is 100");
    }

    #[test]
    fn nobody_meets_a_candidate_without_a_share() {
        let buckets = Buckets::new(3, Permille::NONE);
        assert!((0..1000).all(|bits| buckets.arm_of_request(Entropy(bits)) == Arm::Rest));
    }
}
