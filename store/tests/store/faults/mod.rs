//! What a disk may do to a store: refuse, write half, forget.

mod damage;
mod disk;
mod full;
mod image;
mod power;
mod refusals;
mod run;
mod tree;

pub(crate) use disk::{Fault, FaultDisk, Hit, Kind, Op};
