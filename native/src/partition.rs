//! Address space divided by where a list of rules leads: `geodns/geo/partition.py`, whose arrays are read here.
//!
//!     address --first bits--> a few runs --search--> (outcome, scope); routes[outcome] -> (Step, Step, ...)

use std::net::IpAddr;

use crate::batch::prefetch;
use crate::shape::Span;
use crate::wire::Family;

/// The outcome of an address that no rule matches.
pub const OUTCOME_DEFAULT: i32 = -1;
/// Of an address that says nothing of where a client is.
pub const OUTCOME_NOT_PUBLIC: i32 = -2;
/// In runs of IPv6: EMBEDDED - i means "look at the IPv4 address in it", found with EMBEDDINGS[i].
pub const EMBEDDED: i32 = -16;

/// A block of IPv6 whose addresses stand for IPv4 addresses.
struct Embedding {
    first: u128,
    length: u32,
    shift: u32,
    inverted: bool,
}

impl Embedding {
    const fn new(high: u64, low: u64, length: u32, shift: u32, inverted: bool) -> Embedding {
        Embedding { first: (high as u128) << 64 | low as u128, length, shift, inverted }
    }

    fn covers(&self, value: u128) -> bool {
        (value ^ self.first) >> (128 - self.length) == 0
    }

    fn extract(&self, value: u128) -> u32 {
        (value >> self.shift) as u32 ^ if self.inverted { u32::MAX } else { 0 }
    }

    /// Bits in front of the IPv4 address.
    fn offset(&self) -> u32 {
        96 - self.shift
    }
}

/// `geodns.geo.address.EMBEDDINGS`, in its order: IPv4-mapped, 6to4, Teredo, NAT64.
const EMBEDDINGS: [Embedding; 4] = [
    Embedding::new(0, 0xFFFF_0000_0000, 96, 0, false),
    Embedding::new(0x2002 << 48, 0, 16, 80, false),
    Embedding::new(0x2001 << 48, 0, 32, 0, true),
    Embedding::new(0x0064_FF9B << 32, 0, 96, 0, false),
];

/// IPv6 subnets have 56 bits, so no IPv4 subnet is one of them.
const V4_SUBNET: u64 = 1 << 63;
/// The most bits of an address that are looked up at once, of either family.
const INDEX_BITS_MAX: u32 = 16;

/// One of a choice's rules; `order` are positions in its pools, nearest first.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// In the steer's rules.
    pub rule: u32,
    /// In `Partition.orders`.
    pub order: Span,
}

/// Outcomes as narrow as they fit: a large database has a million runs.
#[derive(Debug)]
enum Outcomes {
    Octets(Vec<i8>),
    Words(Vec<i32>),
}

impl Outcomes {
    fn new(outcomes: Vec<i32>) -> Outcomes {
        match outcomes.iter().map(|&outcome| i8::try_from(outcome)).collect() {
            Ok(octets) => Outcomes::Octets(octets),
            Err(_) => Outcomes::Words(outcomes),
        }
    }

    fn prefetch(&self, at: usize) {
        match self {
            Outcomes::Octets(octets) => prefetch(octets, at),
            Outcomes::Words(words) => prefetch(words, at),
        }
    }

    fn at(&self, at: usize) -> i32 {
        match self {
            Outcomes::Octets(octets) => i32::from(octets[at]),
            Outcomes::Words(words) => words[at],
        }
    }
}

/// Runs of addresses of one family with one outcome each, by their first address; neighbours differ.
#[derive(Debug)]
struct Runs<T> {
    starts: Vec<T>,
    outcomes: Outcomes,
    /// By the address's first bits: the last run that begins at or before the first address that has them.
    index: Vec<u32>,
    shift: u32,
}

/// What the two families' addresses have in common.
trait Bits: Copy + Ord {
    const WIDTH: u32;

    /// The bits above `shift`.
    fn first_bits(self, shift: u32) -> usize;

    /// The bits in which two addresses may differ: 0 for none, WIDTH for all.
    fn distance(self, other: Self) -> u32;

    fn before(self) -> Option<Self>;
}

impl Bits for u32 {
    const WIDTH: u32 = 32;

    fn first_bits(self, shift: u32) -> usize {
        (self >> shift) as usize
    }

    fn distance(self, other: u32) -> u32 {
        32 - (self ^ other).leading_zeros()
    }

    fn before(self) -> Option<u32> {
        self.checked_sub(1)
    }
}

impl Bits for u128 {
    const WIDTH: u32 = 128;

    fn first_bits(self, shift: u32) -> usize {
        (self >> shift) as usize
    }

    fn distance(self, other: u128) -> u32 {
        128 - (self ^ other).leading_zeros()
    }

    fn before(self) -> Option<u128> {
        self.checked_sub(1)
    }
}

impl<T: Bits> Runs<T> {
    /// None unless the first run begins at 0 and each of the others after the one before.
    fn new(starts: Vec<T>, outcomes: Vec<i32>) -> Option<Runs<T>> {
        let is_ordered = starts.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ordered || starts.len() != outcomes.len() || starts.first()?.before().is_some() {
            return None;
        }
        // About one run for each place in the index, so that it is never larger than what it leads to.
        let bits = (usize::BITS - starts.len().leading_zeros()).clamp(1, INDEX_BITS_MAX);
        let shift = T::WIDTH - bits;
        let mut index = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for place in 0..1 << bits {
            // the first run that begins at or after the first address of this place
            while at < starts.len() && starts[at].first_bits(shift) < place {
                at += 1;
            }
            index.push(at as u32);
        }
        index.push(starts.len() as u32);
        Some(Runs { starts, outcomes: Outcomes::new(outcomes), index, shift })
    }

    /// Where the run of an address is.
    fn find(&self, value: T) -> usize {
        let place = value.first_bits(self.shift);
        let (from, to) = (self.index[place] as usize, self.index[place + 1] as usize);
        // The runs that begin in this place, after which the address may come, or before all of them.
        let begun = self.starts[from..to].partition_point(|start| *start <= value);
        (from + begun).saturating_sub(1)
    }

    fn outcome(&self, value: T) -> i32 {
        self.outcomes.at(self.find(value))
    }

    /// Outcome and scope: the prefix has to be long enough to leave out the first address after the run, and the last
    /// one before it.
    fn locate(&self, value: T) -> (i32, u32) {
        let at = self.find(value);
        let after = self.starts.get(at + 1).map_or(0, |next| T::WIDTH + 1 - value.distance(*next));
        let before = self.starts[at].before().map_or(0, |last| T::WIDTH + 1 - value.distance(last));
        (self.outcomes.at(at), after.max(before))
    }
}

/// Immutable.
#[derive(Debug)]
pub struct Partition {
    v4: Runs<u32>,
    v6: Runs<u128>,
    elsewhere: i32,
    routes: Vec<Span>,
    steps: Vec<Step>,
    orders: Vec<u32>,
}

/// The arrays of a `geodns.geo.partition.Partition`.
#[derive(Debug, Default)]
pub struct Arrays {
    /// First IPv4 addresses.
    pub starts4: Vec<u32>,
    /// Of each run.
    pub outcomes4: Vec<i32>,
    /// First IPv6 addresses.
    pub starts6: Vec<u128>,
    /// Of each run.
    pub outcomes6: Vec<i32>,
    /// What an asker without a place gets.
    pub elsewhere: i32,
    /// (rule, order) of each step of each route.
    pub routes: Vec<Vec<(u32, Vec<u32>)>>,
}

impl Partition {
    /// None where the arrays are not what they should be: a run without a route, starts out of order.
    pub fn new(arrays: Arrays) -> Option<Partition> {
        let (mut routes, mut steps, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        for route in &arrays.routes {
            routes.push(Span { start: steps.len() as u32, len: route.len() as u32 });
            for (rule, order) in route {
                steps.push(Step { rule: *rule, order: Span { start: orders.len() as u32, len: order.len() as u32 } });
                orders.extend(order);
            }
        }
        let has_route = |&outcome: &i32| outcome < routes.len() as i32;
        let is_known = |&outcome: &i32| has_route(&outcome) && outcome >= OUTCOME_NOT_PUBLIC;
        let is_embedded = |&outcome: &i32| (EMBEDDED - 3..=EMBEDDED).contains(&outcome);
        let is_whole = arrays.outcomes4.iter().all(is_known)
            && arrays.outcomes6.iter().all(|outcome| is_known(outcome) || is_embedded(outcome))
            && (OUTCOME_DEFAULT..routes.len() as i32).contains(&arrays.elsewhere);
        if !is_whole {
            return None;
        }
        Some(Partition {
            v4: Runs::new(arrays.starts4, arrays.outcomes4)?,
            v6: Runs::new(arrays.starts6, arrays.outcomes6)?,
            elsewhere: arrays.elsewhere,
            routes,
            steps,
            orders,
        })
    }

    /// How many outcomes have steps: those from 0 to below this.
    pub fn routes(&self) -> usize {
        self.routes.len()
    }

    /// Where the runs begin among which an IPv4 address is found.
    pub fn first(&self, address: u32) -> usize {
        self.v4.index[address.first_bits(self.v4.shift)] as usize
    }

    /// Have memory bring the IPv4 runs that begin there.
    pub fn prefetch(&self, first: usize) {
        prefetch(&self.v4.starts, first);
        prefetch(&self.v4.starts, first + 8);
        self.v4.outcomes.prefetch(first);
    }

    /// The steps of an outcome; none of the default's.
    pub fn route(&self, outcome: i32) -> &[Step] {
        match usize::try_from(outcome) {
            Ok(at) => self.routes[at].of(&self.steps),
            Err(_) => &[],
        }
    }

    /// The positions in the pools of a step's rule.
    pub fn order(&self, step: &Step) -> &[u32] {
        step.order.of(&self.orders)
    }

    /// The outcome for an address that asked; never OUTCOME_NOT_PUBLIC.
    pub fn outcome_of(&self, asker: IpAddr) -> i32 {
        let outcome = match asker {
            IpAddr::V4(address) => self.v4.outcome(address.to_bits()),
            IpAddr::V6(address) => self.locate6(address.to_bits()).0,
        };
        if outcome == OUTCOME_NOT_PUBLIC { self.elsewhere } else { outcome }
    }

    /// Outcome and scope (bits) for a client subnet (RFC 7871) with SOURCE > 0. One that is not public gets the outcome
    /// of `asker`.
    pub fn locate(&self, family: Family, value: u128, asker: IpAddr) -> (i32, u32) {
        let (outcome, scope) = match family {
            Family::V4 => self.v4.locate(value as u32),
            Family::V6 => self.locate6(value),
        };
        if outcome == OUTCOME_NOT_PUBLIC { (self.outcome_of(asker), scope) } else { (outcome, scope) }
    }

    fn locate6(&self, value: u128) -> (i32, u32) {
        let (outcome, scope) = self.v6.locate(value);
        if outcome > EMBEDDED {
            return (outcome, scope);
        }
        let embedding = &EMBEDDINGS[(EMBEDDED - outcome) as usize];
        let (outcome, scope) = self.v4.locate(embedding.extract(value));
        (outcome, embedding.offset() + scope)
    }
}

/// The number (64 bits) that stands for a client's subnet, and the scope within which it stays the same.
///
/// An IPv6 address that has an IPv4 address in it counts as that one.
pub fn subnet_of(family: Family, value: u128) -> (u64, u32) {
    if family == Family::V4 {
        return (v4_subnet(value as u32), 24);
    }
    match EMBEDDINGS.iter().find(|embedding| embedding.covers(value)) {
        Some(embedding) => (v4_subnet(embedding.extract(value)), embedding.offset() + 24),
        None => ((value >> 72) as u64, 56),
    }
}

/// The number that stands for the subnet of an address that asked.
pub fn asker_subnet(asker: IpAddr) -> u64 {
    match asker {
        IpAddr::V4(address) => v4_subnet(address.to_bits()),
        IpAddr::V6(address) => subnet_of(Family::V6, address.to_bits()).0,
    }
}

fn v4_subnet(value: u32) -> u64 {
    V4_SUBNET | u64::from(value >> 8)
}
