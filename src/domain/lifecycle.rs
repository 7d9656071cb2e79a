//! The life cycle of versions: where each is, what may happen to it next, and why.
//!
//! Owns the stages and the ways between them ([`stage`]), what lets a version go on ([`proof`]), what keeps
//! one from being removed ([`guard`]), the decision ([`plan`](plan::plan)), orders of operators
//! ([`order`]), the time in which nothing could be compared ([`uncompared`]), and the sentences that explain all of it
//! ([`explain`]). Everything is pure: the
//! controller brings what it sees and the moment, and carries out what comes back. Never computes a statistic,
//! never touches a model, a route or a file.
//!
//! ```text
//!            ┌───────────── events, written down first ─────────────┐
//!            ▼                                                      │
//! journal ─▶ state ──┬─▶ exposure ─▶ routes                         │
//!                    ├─▶ plan ◀── observed, policies, now           │
//!                    │    ├─▶ drafts ──────── stamped ──────────────┘
//!                    │    └─▶ effects ─▶ load, warm, check, unload …
//!                    └─▶ explain
//! ```
//!
//! What the simulator in `control::simulation` holds against it:
//!
//! | | |
//! |---|---|
//! | I1 | a route leads to a loaded version if one was ever live |
//! | I2 | no version in use is unloaded |
//! | I3 | the last loaded and the last proven version are never evicted, save by a forced order |
//! | I4 | a condemned content never serves |
//! | I5 | without an order, nothing is promoted on missing evidence, save where nobody else answers (I14) |
//! | I6 | missing or inconclusive evidence never raises exposure, with the same exception |
//! | I7 | a rollback leads to a version that was found sound a short while before |
//! | I8 | nothing is published that is not written down; after a crash exposure is no higher |
//! | I9 | shares add up to one, and change in one swap |
//! | I10 | copies reach a candidate only beside a champion, and never count as its answers |
//! | I11 | while champion and standby are degraded together, nothing is evicted or rolled back |
//! | I12 | within a cool-down one model loses at most one version, and the gateway its hourly number |
//! | I13 | no request reaches a version on trial under which the gateway has died again and again |
//! | I14 | who takes over because nobody else answers was found sound since, and nothing measured and nobody's word is against it |

pub mod event;
pub mod evidence;
pub mod explain;
pub mod exposure;
pub mod guard;
pub mod health;
pub mod observed;
pub mod order;
pub mod plan;
pub mod policy;
pub mod proof;
pub mod release;
pub mod stage;
pub mod state;
pub mod time;
pub mod uncompared;

#[cfg(test)]
mod tests;
