//! What queries leave behind, counted: a set for each thread, which it alone writes and anybody reads, without a lock.
//!
//!     Left (zone, type, rcode, pools) --key--> Cells (an open hash table) --sums--> Python, by name
//!     nanoseconds from receiving to sending --> Latency (a histogram)
//!
//! Nothing is taken away: a count only grows, and memory is bounded by what the tables hold.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::Count;
use crate::left::Left;

/// Cells of the tables of one thread, each begun when the one before has no place for a key: 4 KiB for a server of a few
/// zones, 1 MiB more for one of ten thousand.
const SIZES: [usize; 3] = [1 << 8, 1 << 12, 1 << 16];
/// Cells that are looked at for a key in each table.
const PROBES: usize = 8;
/// 2**64 / golden ratio: spreads the keys (Knuth, 6.4).
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

const TAKEN: u64 = 1 << 63; // in every key: 0 is an empty cell
const POOL: u64 = 1 << 62;
const ZONE_AT: u32 = 32;
const IS_V6: u64 = 1 << 21;
const RCODE_AT: u32 = 10;
const QTYPE: u64 = 0x3FF;

/// What is counted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Queries.
    Asked {
        /// The zone's number.
        zone: u32,
        /// Whether the client has an IPv6 address.
        is_v6: bool,
        /// `counted_type` of what was asked.
        qtype: u16,
        /// What was answered.
        rcode: u16,
    },
    /// Answers with values of the pool of this number.
    Pool(u32),
}

/// The type that a query is counted as: 0 stands for those that no registry gives a use in questions, of which anybody
/// may ask for 65,000.
pub fn counted_type(qtype: u16) -> u16 {
    if qtype < 128 || (249..=261).contains(&qtype) { qtype } else { 0 }
}

fn packed(left: &Left, is_v6: bool) -> u64 {
    let family = if is_v6 { IS_V6 } else { 0 };
    let low = u64::from(left.rcode) << RCODE_AT | u64::from(counted_type(left.qtype));
    TAKEN | u64::from(left.zone) << ZONE_AT | family | low
}

fn unpacked(key: u64) -> Key {
    if key & POOL != 0 {
        return Key::Pool(key as u32);
    }
    Key::Asked {
        zone: (key >> ZONE_AT) as u32 & 0x3FFF_FFFF,
        is_v6: key & IS_V6 != 0,
        qtype: (key & QTYPE) as u16,
        rcode: (key >> RCODE_AT & QTYPE) as u16,
    }
}

#[derive(Debug, Default)]
struct Cell {
    key: AtomicU64,
    count: Count,
}

/// The counts of one thread.
#[derive(Debug, Default)]
#[repr(align(128))] // no two threads write to one cache line, or to a pair of them
pub struct Tally {
    tables: [OnceLock<Box<[Cell]>>; SIZES.len()],
    /// What found no cell any more.
    pub uncounted: Count,
    /// Of the queries that were measured.
    pub latency: Latency,
}

impl Tally {
    /// Count a query that was answered.
    pub fn add(&self, left: &Left, is_v6: bool) {
        self.count(packed(left, is_v6));
        for &pool in left.pools() {
            self.count(TAKEN | POOL | u64::from(pool));
        }
    }

    fn count(&self, key: u64) {
        let hash = key.wrapping_mul(MULTIPLIER);
        for (table, size) in self.tables.iter().zip(SIZES) {
            let cells = table.get_or_init(|| (0..size).map(|_| Cell::default()).collect());
            let first = (hash >> 32) as usize;
            for probe in 0..PROBES {
                let Some(cell) = cells.get((first + probe) & (size - 1)) else { continue };
                let known = cell.key.load(Ordering::Relaxed);
                if known == key {
                    return cell.count.add(1);
                }
                if known == 0 {
                    cell.count.add(1);
                    return cell.key.store(key, Ordering::Release);
                }
            }
        }
        self.uncounted.add(1);
    }

    /// Everything that was counted so far.
    pub fn counts(&self) -> Vec<(Key, u64)> {
        let cells = self.tables.iter().filter_map(OnceLock::get).flat_map(|cells| cells.iter());
        let taken = cells.map(|cell| (cell.key.load(Ordering::Acquire), cell.count.get())).filter(|(key, _)| *key != 0);
        taken.map(|(key, count)| (unpacked(key), count)).collect()
    }
}

/// Less than this is the first bucket: 2**10 ns, about a microsecond.
const LEAST_BITS: u32 = 10;
/// Buckets between a power of two and the next: a bucket's end is at most a quarter above its beginning.
const STEPS_BITS: u32 = 2;
/// Up to 2**34 ns, 17 s.
pub const BUCKETS: usize = (34 - LEAST_BITS as usize) << STEPS_BITS;

/// How many queries took how long, in buckets that grow with the time.
#[derive(Debug)]
pub struct Latency([Count; BUCKETS]);

impl Default for Latency {
    fn default() -> Latency {
        Latency(std::array::from_fn(|_| Count::default()))
    }
}

impl Latency {
    /// So many queries took so long.
    pub fn add(&self, nanoseconds: u64, queries: u64) {
        self.0[bucket(nanoseconds)].add(queries);
    }

    /// The count of each bucket.
    pub fn counts(&self) -> Vec<u64> {
        self.0.iter().map(Count::get).collect()
    }
}

/// The bucket of a time; bucket `b` ends at `(4 + b % 4 + 1) << (b / 4 + 8)` ns.
fn bucket(nanoseconds: u64) -> usize {
    let nanoseconds = nanoseconds.max(1 << LEAST_BITS);
    let bits = nanoseconds.ilog2();
    let step = (nanoseconds >> (bits - STEPS_BITS)) as usize & ((1 << STEPS_BITS) - 1);
    ((((bits - LEAST_BITS) as usize) << STEPS_BITS) + step).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(zone: u32, qtype: u16, rcode: u16, pools: &[u32]) -> Left {
        let mut left = Left::default();
        (left.zone, left.qtype, left.rcode) = (zone, qtype, rcode);
        pools.iter().for_each(|&pool| left.add_pool(pool));
        left
    }

    /// Every combination has a count of its own, also when there are more than the first tables hold.
    #[test]
    fn everything_is_counted() {
        let tally = Tally::default();
        for turn in 0..3 {
            for zone in 0..3000 {
                tally.add(&left(zone, 1, 0, &[zone]), zone % 2 == 0);
                tally.add(&left(zone, 28, 3, &[]), false);
                if turn == 0 {
                    tally.add(&left(zone, 65_000, 16, &[]), true);
                }
            }
        }
        let counts = tally.counts();
        assert_eq!((12_000, 0), (counts.len(), tally.uncounted.get()));
        for (key, count) in counts {
            let expected = match key {
                Key::Asked { qtype: 0, rcode, is_v6, .. } => ((16, true) == (rcode, is_v6)).into(),
                Key::Asked { zone, is_v6, qtype: 1, rcode: 0 } => 3 * u64::from(is_v6 == (zone % 2 == 0)),
                Key::Asked { is_v6: false, qtype: 28, rcode: 3, .. } | Key::Pool(_) => 3,
                _ => 0,
            };
            assert_eq!(expected, count, "{key:?}");
        }
    }

    /// What has no place is counted as that, and takes no more memory.
    #[test]
    fn memory_is_bounded() {
        let tally = Tally::default();
        (0..200_000).for_each(|zone| tally.add(&left(zone, 1, 0, &[]), false));
        let counts = tally.counts();
        assert!(counts.len() <= SIZES.iter().sum());
        assert_eq!(200_000, tally.uncounted.get() + counts.iter().map(|(_, count)| count).sum::<u64>());
    }

    /// A time is in a bucket that ends above it, by a quarter at most.
    #[test]
    fn buckets_are_narrow() {
        let mut last = 0;
        for nanoseconds in (1 << 10..1 << 20).step_by(7).chain((1 << 20..1 << 33).step_by(100_003)) {
            let at = bucket(nanoseconds);
            let end = (5 + at as u64 % 4) << (at / 4 + 8);
            assert!(nanoseconds < end && end <= nanoseconds * 5 / 4 + 1 + (1 << 9), "{nanoseconds} {at} {end}");
            assert!(at >= last);
            last = at;
        }
        assert_eq!((0, BUCKETS - 1), (bucket(0), bucket(u64::MAX)));
    }
}
