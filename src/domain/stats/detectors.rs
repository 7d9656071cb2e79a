//! Detectors of change in a stream of errors or losses, value by value.
//!
//! Owns the choice among the published detectors and the rules of each, so that they alarm at the very same
//! values as those of river 0.26.1, whose alarms on bit-portable streams are the tests' golden values. Each starts
//! afresh after an alarm. Never says why: a detector is a reason to look, not a verdict.
//!
//! [`Kind::Adwin`] is the one to take: it adapts its window, works for any bounded value, and has a bound on its
//! false alarms. The others are here for those who compare; their own pages say what is wrong with them. KSWIN is not:
//! it draws random samples, so that the same stream gives other alarms.

mod adwin;
mod ddm;
mod eddm;
mod fhddm;
mod hddm;
mod page_hinkley;
mod running;

pub use self::adwin::{Adwin, AdwinSettings};
pub use self::ddm::Ddm;
pub use self::eddm::Eddm;
pub use self::fhddm::Fhddm;
pub use self::hddm::{HddmA, HddmW};
pub use self::page_hinkley::{PageHinkley, PageHinkleySettings};

use serde::{Deserialize, Serialize};

/// What a detector says about the value that it was given last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Nothing to see.
    Quiet,
    /// It may be about to change.
    Warning,
    /// It has changed.
    Drift,
}

macro_rules! detectors {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Which detector.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in configuration and answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// A detector of this kind with its published settings.
            pub fn detector(self) -> Detector {
                match self { $(Self::$name => Detector::$name($name::default()),)* }
            }
        }

        /// A detector at work.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub enum Detector {
            $(#[doc = concat!("See [`Kind::", stringify!($name), "`].")] $name($name),)*
        }

        impl Detector {
            /// Takes the next value: 1 for an error and 0 for none, or a loss between the two.
            pub fn observe(&mut self, value: f64) -> Signal {
                match self { $(Self::$name(detector) => detector.observe(value),)* }
            }

            /// Which one it is.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$name(_) => Kind::$name,)* }
            }
        }
    };
}

impl Detector {
    /// The mean of the values that it holds to be alike; `None` where it does not know.
    pub fn mean(&self) -> Option<f64> {
        match self {
            Self::Adwin(window) => (window.width() > 0.0).then(|| window.mean()),
            Self::PageHinkley(_)
            | Self::Ddm(_)
            | Self::Eddm(_)
            | Self::HddmA(_)
            | Self::HddmW(_)
            | Self::Fhddm(_) => None,
        }
    }
}

detectors! {
    /// Adaptive windowing (Bifet, Gavaldà 2007).
    #[default]
    Adwin = "adwin",
    /// The test of Page and Hinkley. Its threshold is in units of the values: on a stream without change and
    /// a standard deviation of 1 it alarms every 1 500 values or so.
    PageHinkley = "page_hinkley",
    /// Drift detection method (Gama and others 2004). Alarms early in streams with few errors.
    Ddm = "ddm",
    /// Early drift detection method (Baena-García and others 2006). Alarms all the time: every 500 values of
    /// a stream without change.
    Eddm = "eddm",
    /// Hoeffding's bound on averages (Frías-Blanco and others 2015).
    HddmA = "hddm_a",
    /// McDiarmid's bound on weighted averages, by the same.
    HddmW = "hddm_w",
    /// Hoeffding's bound on a sliding window (Pesaranghader, Viktor 2016), as river has it: it looks for a fall
    /// of the mean, so that it must be fed with successes, not with errors.
    Fhddm = "fhddm",
}

#[cfg(test)]
mod tests;
