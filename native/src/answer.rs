//! answer: the whole way of a query through the engine.

use std::net::IpAddr;

use crate::snapshot::Snapshot;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `out` is to be sent.
    Answered,
    /// Nothing is to be said.
    Silent,
}

/// The answer to `packet` in wire form. `out` is cleared and reused: nothing is allocated once it is large enough.
///
/// `client` is the address that asked; `draw` 32 random bits; `now` Unix seconds; `stream` says that the query came
/// over TCP.
pub fn answer(
    packet: &[u8],
    client: IpAddr,
    snapshot: &Snapshot,
    draw: u32,
    now: u64,
    stream: bool,
    out: &mut Vec<u8>,
) -> Outcome {
    let _ = (packet, client, snapshot, draw, now, stream);
    out.clear();
    Outcome::Silent
}

/// What to say when the engine itself failed on `packet`.
pub fn servfail(packet: &[u8], out: &mut Vec<u8>) -> Outcome {
    let _ = packet;
    out.clear();
    Outcome::Silent
}
