//! Tests of the log as a whole: what is offered is read back, whatever the disk does.

mod damage;
mod distrust;
mod faults;
mod faulty;
mod pairs;
mod power;
mod retention;
pub(super) mod rows;
mod running;
pub(super) mod sample;
mod spares;
