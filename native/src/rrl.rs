//! Response rate limiting: what a network that may not have asked at all is sent no more of.
//!
//!     reply --ResponseClass::of--> class --+
//!     client --Rules::network------------+--> Buckets::take --> Verdict: send, slip (come by TCP), drop
//!
//! `geodns/engine/rrl.py` says why it is as it is. All threads share the buckets, each of which is a word that is
//! replaced at once: nobody waits, and nothing is allocated for a query.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use siphasher::sip::SipHasher24;

use crate::answer::{Outcome, curtailed};
use crate::cookie::is_valid;
use crate::snapshot::Snapshot;
use crate::wire::{KeyRoom, read};

/// Response classes.
pub const CLASSES: usize = 5;
/// Buckets of a set: eight of 8 octets are a cache line.
const WAYS: usize = 8;
/// A batch that began so long ago is late; what seems to be further back is a clock set back.
const LATE_SECONDS: u16 = 8;
/// Limits that begin are kept to be told, so many between two looks; the others are only counted.
const BEGUN_KEPT: usize = 64;
/// Another thread may have changed a bucket meanwhile; then it is looked at again, so often.
const TRIES: usize = 8;

// A bucket: tag 24 | second seen 16 | is it limited now 1 | limited since the last slip 4 | tokens 19. 0: no bucket.
const TOKENS: u64 = (1 << 19) - 1;
const SLIPPED_AT: u32 = 19;
const LIMITED_AT: u32 = 23;
const SEEN_AT: u32 = 24;
const TAG_AT: u32 = 40;
const SLIPPED: u64 = 0xF;

const NXDOMAIN: u8 = 3;
const FLAG_AA: u8 = 0x04;
const FLAG_TC: u8 = 0x02;

/// What is answered, in the words of RFC 1034 section 4.3.2 and RFC 2308.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResponseClass {
    /// Records.
    Answer,
    /// No records of the type.
    Nodata,
    /// No such name.
    Nxdomain,
    /// Another server's.
    Referral,
    /// Everything else.
    Error,
}

/// All of them, by number.
pub const RESPONSE_CLASSES: [ResponseClass; CLASSES] = [
    ResponseClass::Answer,
    ResponseClass::Nodata,
    ResponseClass::Nxdomain,
    ResponseClass::Referral,
    ResponseClass::Error,
];

impl ResponseClass {
    /// The class of a reply of ours, by its header.
    pub fn of(reply: &[u8]) -> ResponseClass {
        let &[_, _, high, low, _, _, an_high, an_low, ns_high, ns_low, ..] = reply else {
            return ResponseClass::Error;
        };
        match low & 15 {
            NXDOMAIN => ResponseClass::Nxdomain,
            1.. => ResponseClass::Error,
            // records in the answer section, or too many for it
            0 if an_high | an_low | (high & FLAG_TC) != 0 => ResponseClass::Answer,
            0 if high & FLAG_AA != 0 => ResponseClass::Nodata,
            0 if ns_high | ns_low != 0 => ResponseClass::Referral,
            0 => ResponseClass::Error, // BADVERS, or the answer to a cookie without a question
        }
    }
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is sent without being counted.
    Exempt,
    /// A short one is sent instead.
    Slip,
    /// Nothing is sent.
    Drop,
}

/// `geodns.engine.snapshot.Rrl`.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Responses a second to one network, by class; 0: without limit.
    pub rates: [u32; CLASSES],
    /// What a network that was quiet may have at once is worth so many seconds.
    pub burst_seconds: u32,
    /// Every how manyth of those over the limit is sent short; 0: none.
    pub slip: u32,
    /// Of an IPv4 network.
    pub bits4: u32,
    /// Of an IPv6 network, at most 64.
    pub bits6: u32,
    /// (address, bits) of the networks that are not limited.
    pub exempt: Vec<(IpAddr, u32)>,
    /// Count and tell, and send all the same.
    pub log_only: bool,
    /// Whether one with half a cookie is told the other half instead of to come by TCP.
    pub badcookie: bool,
    /// Of this process.
    pub key: [u8; 16],
}

/// A network that counts as one client: an IPv4 one in the lower 32 bits, or the first 64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u64,
    is_v6: bool,
}

impl Network {
    /// Its first address.
    pub fn address(self) -> IpAddr {
        if self.is_v6 {
            IpAddr::from((u128::from(self.bits) << 64).to_be_bytes())
        } else {
            IpAddr::from((self.bits as u32).to_be_bytes())
        }
    }
}

impl Rules {
    /// The network of an address.
    pub fn network(&self, address: IpAddr) -> Network {
        let (octets, width, bits) = match address {
            IpAddr::V4(address) => (u64::from(u32::from(address)), 32, self.bits4),
            IpAddr::V6(address) => ((u128::from(address) >> 64) as u64, 64, self.bits6),
        };
        let unused = width - bits.min(width);
        let cleared = octets.checked_shr(unused).unwrap_or(0).checked_shl(unused).unwrap_or(0);
        Network { bits: cleared, is_v6: address.is_ipv6() }
    }

    /// Whether an address is in one of the networks that are not limited.
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|&(network, bits)| match (address, network) {
            (IpAddr::V4(address), IpAddr::V4(network)) => {
                (u32::from(address) ^ u32::from(network)).checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(address), IpAddr::V6(network)) => {
                (u128::from(address) ^ u128::from(network)).checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        })
    }

    fn hash(&self, network: Network, class: ResponseClass) -> u64 {
        let mut octets = [0; 9];
        let width = if network.is_v6 { 8 } else { 4 };
        octets[0] = (width as u8) << 4 | class as u8;
        octets[1..=width].copy_from_slice(&network.bits.to_be_bytes()[8 - width..]);
        SipHasher24::new_with_key(&self.key).hash(&octets[..=width])
    }
}

/// The buckets of a set, which share a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// The token buckets of all networks.
#[derive(Debug)]
pub struct Buckets(Box<[Set]>);

impl Buckets {
    /// Room for `count`, a power of two of at least WAYS.
    pub fn new(count: usize) -> Buckets {
        Buckets((0..(count / WAYS).max(1)).map(|_| Set::default()).collect())
    }

    /// How many there is room for.
    pub fn len(&self) -> usize {
        self.0.len() * WAYS
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Take a token of this network and class, if there is one; and whether a limit begins.
    pub fn take(&self, rules: &Rules, network: Network, class: ResponseClass, now: u64) -> (Verdict, bool) {
        let rate = rules.rates[class as usize];
        if rate == 0 {
            return (Verdict::Send, false);
        }
        for _ in 0..TRIES {
            let (place, word, tag) = self.find(rules, network, class, now);
            let (new, verdict, begins) = spend(word, tag, rate, rules, now);
            if place.compare_exchange(word, new, Relaxed, Relaxed).is_ok() {
                return (verdict, begins);
            }
        }
        (Verdict::Send, false)
    }

    /// Whether a limit on this network that has begun has not ended: its bucket is not full again.
    pub fn is_limited(&self, rules: &Rules, network: Network, class: ResponseClass, now: u64) -> bool {
        let rate = rules.rates[class as usize];
        let (_, word, tag) = self.find(rules, network, class, now);
        rate != 0
            && word >> TAG_AT == tag
            && word >> LIMITED_AT & 1 == 1
            && tokens(word, rate, now) < u64::from(rate) * u64::from(rules.burst_seconds)
    }

    /// Where the bucket is, or may be made; what is there; and its tag.
    fn find(&self, rules: &Rules, network: Network, class: ResponseClass, now: u64) -> (&AtomicU64, u64, u64) {
        let hash = rules.hash(network, class);
        let tag = (hash >> TAG_AT).max(1);
        let set = &self.0[(hash % self.0.len() as u64) as usize].0;
        let (mut chosen, mut found, mut best) = (&set[0], 0, -1);
        for place in set {
            let word = place.load(Relaxed);
            if word >> TAG_AT == tag {
                return (place, word, tag);
            }
            // An empty place first, then the longest unseen; of those the ones that are not limited.
            let is_free = (!word >> LIMITED_AT & 1) as i32;
            let score = if word == 0 { 1 << 17 } else { i32::from(elapsed(word, now)) << 1 | is_free };
            if score > best {
                (chosen, found, best) = (place, word, score);
            }
        }
        (chosen, found, tag)
    }
}

/// Take a token from the bucket `word`, or from a full one if it is another's: (word, verdict, begins).
fn spend(word: u64, tag: u64, rate: u32, rules: &Rules, now: u64) -> (u64, Verdict, bool) {
    let (mut seen, mut limited, mut slipped) = (now & 0xFFFF, 0, 0);
    let capacity = u64::from(rate) * u64::from(rules.burst_seconds);
    let mut left = capacity;
    if word >> TAG_AT == tag {
        left = capacity.min(tokens(word, rate, now));
        if elapsed(word, now) == 0 {
            seen = word >> SEEN_AT & 0xFFFF;
        }
        if left < capacity {
            (limited, slipped) = (word >> LIMITED_AT & 1, word >> SLIPPED_AT & SLIPPED);
        }
    }
    let (mut verdict, mut begins) = (Verdict::Send, false);
    if left > 0 {
        left -= 1;
    } else {
        (begins, limited) = (limited == 0, 1);
        slipped += 1;
        verdict = Verdict::Drop;
        if rules.slip > 0 && slipped >= u64::from(rules.slip) {
            (slipped, verdict) = (0, Verdict::Slip);
        }
        slipped = slipped.min(SLIPPED);
    }
    (tag << TAG_AT | seen << SEEN_AT | limited << LIMITED_AT | slipped << SLIPPED_AT | left, verdict, begins)
}

fn tokens(word: u64, rate: u32, now: u64) -> u64 {
    (word & TOKENS) + u64::from(elapsed(word, now)) * u64::from(rate)
}

/// Seconds since a bucket was seen; 0 for a batch that is late.
fn elapsed(word: u64, now: u64) -> u16 {
    let elapsed = (now as u16).wrapping_sub((word >> SEEN_AT) as u16);
    if elapsed > u16::MAX - LATE_SECONDS { 0 } else { elapsed }
}

/// Rules, and the state that they go by: the only part of a snapshot that changes, and that the next one takes over.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// What holds now.
    pub rules: Rules,
    /// What was sent lately.
    pub buckets: Arc<Buckets>,
    /// Limits that began, to be told.
    pub begun: Arc<Begun>,
}

/// Limits that began.
#[derive(Debug, Default)]
pub struct Begun(Mutex<Vec<(Network, ResponseClass)>>);

impl Begun {
    /// Keep it; not if there are many already, or somebody else is about to: no answer waits for a log.
    fn add(&self, network: Network, class: ResponseClass) {
        if let Ok(mut kept) = self.0.try_lock()
            && kept.len() < BEGUN_KEPT
        {
            kept.push((network, class));
        }
    }

    /// Those since the last call.
    pub fn take(&self) -> Vec<(Network, ResponseClass)> {
        self.0.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }
}

impl Limiter {
    /// What becomes of the answer `out` to `packet`, which would go to `client` over UDP; `out` is changed to it.
    pub fn limit(&self, packet: &[u8], client: IpAddr, snapshot: &Snapshot, now: u64, out: &mut Vec<u8>) -> Verdict {
        if self.rules.is_exempt(client) || has_cookie(packet, client, snapshot, now) {
            return Verdict::Exempt;
        }
        let class = ResponseClass::of(out);
        let network = self.rules.network(client);
        let (verdict, begins) = self.buckets.take(&self.rules, network, class, now);
        if begins {
            self.begun.add(network, class);
        }
        if !self.rules.log_only {
            match verdict {
                Verdict::Drop => out.clear(),
                Verdict::Slip if curtailed(packet, client, snapshot, now, out) == Outcome::Silent => out.clear(),
                _ => {}
            }
        }
        verdict
    }
}

/// RFC 7873 section 5.2.5: whoever shows a cookie that we sent to this address is really there.
fn has_cookie(packet: &[u8], client: IpAddr, snapshot: &Snapshot, now: u64) -> bool {
    // without additional records there is no OPT
    if packet.get(10..12).is_none_or(|count| count == [0, 0]) {
        return false;
    }
    let mut room = KeyRoom::default();
    let cookie = read(packet, &mut room).and_then(|query| query.cookie);
    cookie.is_some_and(|cookie| is_valid(cookie, client, &snapshot.cookie_secrets, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { rates: [10; CLASSES], burst_seconds: 2, slip: 2, bits4: 24, bits6: 56, ..Rules::default() }
    }

    /// However many threads ask at once, a network gets what its bucket has and no more.
    #[test]
    fn threads_share_a_bucket() {
        let rules = Rules { rates: [10_000; CLASSES], ..rules() };
        let buckets = Buckets::new(WAYS);
        let network = rules.network(IpAddr::from([192, 0, 2, 1]));
        let sent: usize = std::thread::scope(|scope| {
            let (rules, buckets) = (&rules, &buckets);
            let take = move || buckets.take(rules, network, ResponseClass::Answer, 7).0;
            let ask = move || (0..20_000).filter(|_| take() == Verdict::Send).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // What nobody could write in TRIES turns is sent; that is rare.
        assert!((20_000..20_100).contains(&sent), "{sent}");
    }

    /// A thread whose batch began in the second before does not make time go back, nor fill the bucket.
    #[test]
    fn a_late_batch_gets_nothing_extra() {
        let (rules, buckets) = (rules(), Buckets::new(WAYS));
        let network = rules.network(IpAddr::from([192, 0, 2, 1]));
        let take = |now| buckets.take(&rules, network, ResponseClass::Error, now).0;
        assert_eq!(20, (0..30).filter(|_| take(1000) == Verdict::Send).count());
        assert_eq!(0, (0..30).filter(|_| take(999) == Verdict::Send).count());
        assert_eq!(10, (0..30).filter(|_| take(1001) == Verdict::Send).count());
    }
}
