//! A sample of the queries, for whoever wants to see them whole: where they come from, a query log, dnstap.
//!
//!     every nth query, by chance --record--> Ring (octets, one for each thread) --take--> Python
//!
//! A thread that answers waits for nobody: when the ring is full, or is being taken from, a query is dropped and
//! counted. While nobody wants any, all that a query costs is a number counted down.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::counters::Count;

/// Octets that wait in one thread's ring: 5,000 queries and answers of the usual size.
pub const RING_OCTETS_MAX: usize = 1 << 20;

/// What is in a record before the query and the answer, in the machine's order of octets: the length of what
/// follows (u32), the length of the query (u16), the client's port (u16), Unix time (ns, u64) when the query was received, how long
/// it took (ns, u32), draw (u32), how many queries it stands for (u32), 1 over TCP + 2 for IPv6 (u32), the client's
/// address (16 octets).
const HEAD_OCTETS: usize = 48;

/// Which of the queries are wanted: shared by all threads.
#[derive(Debug, Default)]
pub struct Wanted(AtomicU32);

impl Wanted {
    /// One of so many; 0 for none.
    pub fn set(&self, every: u32) {
        self.0.store(every, Ordering::Relaxed);
    }

    /// One of so many; 0 for none.
    pub fn every(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A query that was chosen, and what is not in its packet.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its place in the batch.
    pub at: usize,
    /// The random bits that it was answered with.
    pub draw: u32,
    /// How many queries it stands for.
    pub weight: u32,
}

/// A query, its answer, and everything that the answer depends on besides the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// How it was chosen.
    pub sample: Sample,
    /// Who asked.
    pub client: SocketAddr,
    /// Whether over TCP.
    pub stream: bool,
    /// Unix time in nanoseconds when it was received.
    pub received: u64,
    /// Nanoseconds from then until it was answered.
    pub took: u64,
    /// The packet.
    pub query: &'a [u8],
    /// Empty for silence.
    pub answer: &'a [u8],
}

/// Records of one thread that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Ring {
    octets: Mutex<Vec<u8>>,
    /// Records that found no room.
    pub dropped: Count,
}

impl Ring {
    /// Keep a record, if there is room and nobody is at it.
    pub fn put(&self, record: &Record<'_>) {
        let length = HEAD_OCTETS + record.query.len() + record.answer.len();
        let Ok(mut octets) = self.octets.try_lock() else { return self.dropped.add(1) };
        if octets.len() + length > RING_OCTETS_MAX {
            return self.dropped.add(1);
        }
        let (address, is_v6) = match record.client.ip() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), false),
            IpAddr::V6(address) => (address.to_bits(), true),
        };
        octets.extend_from_slice(&((length - 4) as u32).to_ne_bytes());
        octets.extend_from_slice(&(record.query.len() as u16).to_ne_bytes());
        octets.extend_from_slice(&record.client.port().to_ne_bytes());
        octets.extend_from_slice(&record.received.to_ne_bytes());
        octets.extend_from_slice(&u32::try_from(record.took).unwrap_or(u32::MAX).to_ne_bytes());
        octets.extend_from_slice(&record.sample.draw.to_ne_bytes());
        octets.extend_from_slice(&record.sample.weight.to_ne_bytes());
        octets.extend_from_slice(&(u32::from(record.stream) | u32::from(is_v6) << 1).to_ne_bytes());
        octets.extend_from_slice(&address.to_be_bytes());
        octets.extend_from_slice(record.query);
        octets.extend_from_slice(record.answer);
    }

    /// All records; `room` becomes the ring's memory, so that the thread need not ask for some.
    pub fn take(&self, mut room: Vec<u8>) -> Vec<u8> {
        room.clear();
        room.reserve(RING_OCTETS_MAX);
        std::mem::swap(&mut *self.octets.lock().unwrap_or_else(PoisonError::into_inner), &mut room);
        room
    }
}

/// One thread's choice of queries: each with the same chance, whatever pattern they come in.
#[derive(Debug)]
pub struct Sampler {
    every: u32,
    left: u32,
}

impl Default for Sampler {
    /// Nothing is chosen before `aim`.
    fn default() -> Sampler {
        Sampler { every: 0, left: u32::MAX }
    }
}

impl Sampler {
    /// One of so many; 0 for none.
    pub fn every(&self) -> u32 {
        self.every
    }

    /// Go by what is wanted now; `draw` is random.
    pub fn aim(&mut self, every: u32, draw: u32) {
        self.every = every;
        self.again(draw);
    }

    /// How many queries this one stands for, if it is chosen.
    #[inline]
    pub fn choose(&mut self, draw: u32) -> Option<u32> {
        self.left -= 1;
        if self.left != 0 {
            return None;
        }
        self.again(draw);
        (self.every != 0).then_some(self.every)
    }

    /// From 1 to 2 * every - 1 queries on, `every` on the average.
    fn again(&mut self, draw: u32) {
        let span = u64::from(self.every) * 2 - u64::from(self.every != 0);
        self.left = if span == 0 { u32::MAX } else { 1 + ((u64::from(draw) * span) >> 32) as u32 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(query: &'a [u8], answer: &'a [u8]) -> Record<'a> {
        Record {
            sample: Sample { at: 0, draw: 7, weight: 1 },
            client: ([192, 0, 2, 1], 5353).into(),
            stream: false,
            received: 1,
            took: u64::MAX,
            query,
            answer,
        }
    }

    /// A ring that nobody empties drops what comes, counts it, and stays as large as it may be.
    #[test]
    fn a_full_ring_drops() {
        let ring = Ring::default();
        let answer = [0; 1000];
        (0..2000).for_each(|_| ring.put(&record(b"query", &answer)));
        let taken = ring.take(Vec::new());
        assert!(taken.len() <= RING_OCTETS_MAX);
        assert_eq!(2000 - ring.dropped.get(), (taken.len() / (HEAD_OCTETS + 1005)) as u64);
        ring.put(&record(b"query", b"answer"));
        assert_eq!(HEAD_OCTETS + 11, ring.take(taken).len());
    }

    /// One of n is chosen, of every pattern; all of them when n is 1, and none when it is 0.
    #[test]
    fn the_sample_is_fair() {
        let mut state = 1_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let mut sampler = Sampler::default();
        assert!((0..100_000).all(|_| sampler.choose(draw()).is_none()));
        for every in [1, 2, 10, 1000] {
            sampler.aim(every, draw());
            let mut halves = [0_u32; 2];
            for at in 0..400_000 {
                halves[at % 2] += sampler.choose(draw()).unwrap_or(0);
            }
            assert!(halves.iter().all(|&half| half.abs_diff(200_000) < 20_000), "{every} {halves:?}");
        }
        sampler.aim(0, draw());
        assert!((0..100_000).all(|_| sampler.choose(draw()).is_none()));
    }
}
