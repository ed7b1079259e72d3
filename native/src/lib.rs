//! The native engine of geodns: a packet in, a packet or silence out, with the same octets as `geodns.engine`.
//!
//!     geodns.engine.snapshot.Snapshot --copy--> Snapshot --arc-swap--> Engine.current
//!                                                                        |
//!     packet --wire::read--> Query --lookup::find--> Plan --choose--> Plan --assemble--> packet
//!
//! The files have the names of those in `geodns/engine`, which is the definition: whatever differs is a bug here.
//! Queries are answered without Python, without its lock and without a lock of ours; what is for a service in Python
//! (another opcode, a transfer, the CHAOS class) is handed to it by `handoff`, and no other query waits for that.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod ahead;
pub mod answer;
pub mod assemble;
pub mod batch;
pub mod bound;
pub mod choose;
pub mod cookie;
pub mod counters;
pub mod decide;
pub mod handoff;
pub mod hashing;
pub mod left;
pub mod lookup;
pub mod partition;
pub mod rrl;
pub mod sample;
pub mod service;
pub mod shape;
pub mod snapshot;
pub mod steer;
pub mod tally;
pub mod tcp;
pub mod udp;
pub mod wire;

#[cfg(feature = "python")]
mod copy;
#[cfg(feature = "python")]
pub mod engine;
#[cfg(feature = "python")]
pub mod server;

#[cfg(feature = "python")]
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::server::{Handed, Server};
}
