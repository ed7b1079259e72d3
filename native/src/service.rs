//! What the sockets ask: something that holds still for a batch, answers, and may fail.
//!
//!     packet --Asking (dice, clock, panics contained, counts, a sample)--> Service::answer --> octets, or none
//!                                                                            +--> to be handed over
//!
//! The listeners know no more of the engine than this, so that they can be tested with a service that does as it is
//! told.

use crate::answer::Outcome;
use crate::counters::Counters;
use crate::handoff::Handing;
use crate::left::Left;
use crate::rrl::Verdict;
use crate::sample::{Record, Ring, Sample, Sampler, Wanted};
use crate::tally::Tally;
use crate::wire::SERVFAIL;
use std::any::Any;
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Failures kept until somebody asks for them; the others are only counted.
const FAILURES_KEPT: usize = 16;
/// Between two measurements of how long a batch takes: an idle server measures every query, a busy one asks the clock
/// a thousand times a second and not a hundred thousand times.
const MEASURE_NANOSECONDS: u64 = 1_000_000;
/// Octets told of a packet on which the engine failed.
const PACKET_OCTETS_TOLD: usize = 512;

/// An engine with a snapshot that may be replaced at any time.
pub trait Service: Send + Sync + 'static {
    /// One snapshot, held for as long as a batch takes.
    type Held;

    /// The snapshot that is served now.
    fn hold(&self) -> Self::Held;

    /// What will be needed to answer these packets may be brought near.
    fn look_ahead<'a>(_held: &Self::Held, _count: usize, _packet: impl Fn(usize) -> &'a [u8]) {}

    /// Answer into `out`, which is empty, and tell in `left` what was answered.
    fn answer(held: &Self::Held, question: &Question<'_>, out: &mut Vec<u8>, left: &mut Left) -> Outcome;

    /// What becomes of `out`, the answer to a question that came over UDP; `out` is changed to it.
    fn limit(_held: &Self::Held, _question: &Question<'_>, _out: &mut Vec<u8>) -> Verdict {
        Verdict::Send
    }

    /// Put SERVFAIL for this packet into `out`, which is empty.
    fn servfail(packet: &[u8], out: &mut Vec<u8>) -> Outcome;
}

/// Everything that an answer depends on besides the snapshot.
pub struct Question<'a> {
    /// The query as it came.
    pub packet: &'a [u8],
    /// Who asked.
    pub client: IpAddr,
    /// Random bits.
    pub draw: u32,
    /// Unix seconds.
    pub now: u64,
    /// Whether it came over TCP.
    pub stream: bool,
}

/// What the threads could not do, for the log of the process.
#[derive(Default)]
pub struct Failures(Mutex<Vec<String>>);

impl Failures {
    /// Keep it, unless there are many already.
    pub fn add(&self, what: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < FAILURES_KEPT {
            kept.push(what);
        }
    }

    /// Those since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one thread writes down, and others read.
#[derive(Default)]
pub struct Books {
    /// Of packets, whatever is in them.
    pub counters: Counters,
    /// Of what was asked and answered.
    pub tally: Tally,
    /// Of the sample.
    pub ring: Ring,
}

/// What all threads have in common besides the engine.
#[derive(Clone)]
pub struct Common {
    /// How many queries are to be kept whole.
    pub wanted: Arc<Wanted>,
    /// What went wrong.
    pub failures: Arc<Failures>,
    /// Where queries go that the engine does not answer itself.
    pub handing: Handing,
}

/// One thread's way to ask: it has the thread's dice, and counts.
pub struct Asking<'a, S: Service> {
    books: &'a Books,
    common: &'a Common,
    dice: Dice,
    stream: bool,
    held: Option<S::Held>,
    received: u64,
    measured: u64,
    asked: u64,
    now: u64,
    left: Left,
    sampler: Sampler,
    samples: Vec<Sample>,
}

impl<'a, S: Service> Asking<'a, S> {
    /// With dice of its own; `stream` says that the queries come over TCP.
    pub fn new(books: &'a Books, common: &'a Common, stream: bool) -> Asking<'a, S> {
        Asking {
            books,
            common,
            dice: Dice::new(),
            stream,
            held: None,
            received: 0,
            measured: 0,
            asked: 0,
            now: 0,
            left: Left::default(),
            sampler: Sampler::default(),
            samples: Vec::new(),
        }
    }

    /// From here to `end` all queries see the same snapshot and the same second.
    pub fn begin(&mut self, service: &S) {
        self.held = Some(service.hold());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (self.now, self.received) = (since.as_secs(), since.as_nanos() as u64);
        self.asked = 0;
        self.samples.clear();
        let every = self.common.wanted.every();
        if every != self.sampler.every() {
            self.sampler.aim(every, self.dice.draw());
        }
    }

    /// These packets will be asked about next.
    pub fn look_ahead<'b>(&self, count: usize, packet: impl Fn(usize) -> &'b [u8]) {
        if let Some(held) = &self.held {
            S::look_ahead(held, count, packet);
        }
    }

    /// The answers have gone: measure how long they took, now and then, and keep those of the sample. `whole` gives the
    /// query, who asked, and the answer at a place of the batch.
    pub fn sent<'b>(&mut self, whole: impl Fn(usize) -> Option<(&'b [u8], SocketAddr, &'b [u8])>) {
        let is_time = self.received.wrapping_sub(self.measured) >= MEASURE_NANOSECONDS;
        if !is_time && self.samples.is_empty() {
            return;
        }
        let took = nanoseconds().saturating_sub(self.received);
        if is_time {
            self.measured = self.received;
            self.books.tally.latency.add(took, self.asked);
        }
        for &sample in &self.samples {
            if let Some((query, client, answer)) = whole(sample.at) {
                let (stream, received) = (self.stream, self.received);
                self.books.ring.put(&Record { sample, client, stream, received, took, query, answer });
            }
        }
        self.samples.clear();
        self.asked = 0;
    }

    /// Give the snapshot back: nobody may hold it while nothing comes.
    pub fn end(&mut self) {
        self.held = None;
    }

    /// Answer into `out`, which is cleared, and left empty by all that is not answered. Never panics: what the engine
    /// does not survive is answered SERVFAIL, counted and kept to be told. What is to be handed over is followed by
    /// `handed` or `crowded`, and counted where it is answered.
    #[inline]
    pub fn ask(&mut self, packet: &[u8], client: IpAddr, out: &mut Vec<u8>) -> Outcome {
        self.say(packet, client, out, S::answer)
    }

    /// When the batch was received: Unix time in nanoseconds.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The query has been handed over.
    pub fn handed(&mut self) {
        self.asked += 1; // it has had its place in the batch
    }

    /// The query could not be handed over, too many wait: SERVFAIL.
    #[cold]
    pub fn crowded(&mut self, packet: &[u8], client: IpAddr, out: &mut Vec<u8>) -> Outcome {
        self.books.counters.crowded.add(1);
        self.say(packet, client, out, |_, question, out, left| {
            left.clear();
            left.set_rcode(SERVFAIL);
            S::servfail(question.packet, out)
        })
    }

    #[inline]
    fn say(
        &mut self,
        packet: &[u8],
        client: IpAddr,
        out: &mut Vec<u8>,
        say: impl FnOnce(&S::Held, &Question<'_>, &mut Vec<u8>, &mut Left) -> Outcome,
    ) -> Outcome {
        out.clear();
        let Some(held) = &self.held else { return Outcome::Silent };
        let draw = self.dice.draw();
        let question = Question { packet, client, draw, now: self.now, stream: self.stream };
        let left = &mut self.left;
        // AssertUnwindSafe: after a panic `out` is cleared, the dice are numbers, and a snapshot is never changed but for
        // the buckets of its limiter, which are numbers as well.
        let answer = || {
            let outcome = say(held, &question, out, left);
            let is_limited = outcome == Outcome::Answered && !question.stream;
            (outcome, if is_limited { S::limit(held, &question, out) } else { Verdict::Send })
        };
        let (outcome, verdict) = match catch_unwind(AssertUnwindSafe(answer)) {
            Ok(answered) => answered,
            Err(panic) => (self.failed(packet, client, panic.as_ref(), out), Verdict::Send),
        };
        if outcome == Outcome::HandOver {
            out.clear();
            return outcome;
        }
        self.books.counters.queries.add(1);
        self.books.counters.limited(verdict);
        if outcome == Outcome::Answered && !(verdict == Verdict::Drop && out.is_empty()) {
            self.books.counters.answered(out);
            self.books.tally.add(&self.left, client.is_ipv6());
        } else {
            out.clear();
            self.books.counters.silent.add(1);
        }
        if let Some(weight) = self.sampler.choose(draw) {
            self.samples.push(Sample { at: self.asked as usize, draw, weight });
        }
        self.asked += 1;
        outcome
    }

    #[cold]
    fn failed(&mut self, packet: &[u8], client: IpAddr, panic: &(dyn Any + Send), out: &mut Vec<u8>) -> Outcome {
        self.left.clear();
        self.left.set_rcode(SERVFAIL);
        self.books.counters.panics.add(1);
        let told = &packet[..packet.len().min(PACKET_OCTETS_TOLD)];
        let hex = told.iter().fold(String::new(), |mut hex, octet| {
            let _ = write!(hex, "{octet:02x}");
            hex
        });
        let what = words(panic);
        self.common.failures.add(format!(
            "the engine failed on a query from {client}: {what}; answered SERVFAIL; please report this with the packet: \
             {hex}"
        ));
        out.clear();
        // What made the engine fail may do so again.
        catch_unwind(AssertUnwindSafe(|| S::servfail(packet, out))).unwrap_or(Outcome::Silent)
    }
}

/// Unix time.
fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// What a panic said, and where.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let place = PLACE.with_borrow_mut(std::mem::take);
    format!("{}{place}", said.unwrap_or("a panic without words"))
}

thread_local! {
    static IS_WORKER: RefCell<bool> = const { RefCell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Say that this thread reports its panics itself, so that they are not printed as well.
pub fn contain_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if IS_WORKER.with_borrow(|is_worker| *is_worker) {
                let place = info.location().map(|at: &Location<'_>| format!(" at {}:{}", at.file(), at.line()));
                PLACE.with_borrow_mut(|kept| *kept = place.unwrap_or_default());
            } else {
                before(info);
            }
        }));
    });
    IS_WORKER.with_borrow_mut(|is_worker| *is_worker = true);
}

/// A thread's dice: xorshift64*, by Vigna. They spread load, and are no secret.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        // The standard library seeds its hashers by the system's randomness, a new one each time.
        Dice(RandomState::new().build_hasher().finish() | 1)
    }

    fn draw(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::handoff::{Waiting, queue};

    /// Echoes; panics on `panic`, is silent on `hush`, hands over `over`, answers 70,000 octets to `huge`.
    pub struct Echo;

    impl Service for Echo {
        type Held = ();

        fn hold(&self) {}

        fn answer(_: &(), question: &Question<'_>, out: &mut Vec<u8>, _: &mut Left) -> Outcome {
            assert!(!question.packet.starts_with(b"panic"), "told to");
            if question.packet.starts_with(b"huge") {
                out.resize(70_000, 0);
            } else {
                out.extend_from_slice(question.packet);
            }
            match question.packet {
                [b'h', b'u', b's', b'h', ..] => Outcome::Silent,
                [b'o', b'v', b'e', b'r', ..] => Outcome::HandOver,
                _ => Outcome::Answered,
            }
        }

        fn servfail(packet: &[u8], out: &mut Vec<u8>) -> Outcome {
            out.extend_from_slice(b"servfail ");
            out.extend_from_slice(packet);
            Outcome::Answered
        }
    }

    /// What threads have in common, and the other end of the queue.
    pub fn common() -> (Common, Waiting) {
        let (handing, waiting) = queue();
        (Common { wanted: Arc::default(), failures: Arc::default(), handing }, waiting)
    }

    /// A panic of the engine becomes SERVFAIL, is counted and told with the packet; the next query is answered.
    #[test]
    fn a_panic_costs_one_query() {
        contain_panics();
        let (books, (common, _waiting)) = (Books::default(), common());
        let mut asking = Asking::<Echo>::new(&books, &common, false);
        let client = IpAddr::from([192, 0, 2, 1]);
        let mut out = Vec::new();
        asking.begin(&Echo);
        assert_eq!(Outcome::Answered, asking.ask(b"panic", client, &mut out));
        assert_eq!(b"servfail panic", out.as_slice());
        assert_eq!(Outcome::Answered, asking.ask(b"fine", client, &mut out));
        assert_eq!(b"fine", out.as_slice());
        assert_eq!((2, 1), (books.counters.queries.get(), books.counters.panics.get()));
        let told = common.failures.take().concat();
        assert!(told.contains("192.0.2.1: told to at ") && told.ends_with("70616e6963"), "{told}");
        assert!(common.failures.take().is_empty());
    }

    /// A thousand packets that make the engine fail do not fill the memory with what is to be told.
    #[test]
    fn failures_are_bounded() {
        let failures = Failures::default();
        (0..1000).for_each(|number| failures.add(number.to_string()));
        assert_eq!(FAILURES_KEPT, failures.take().len());
    }

    /// Draws differ, in a thread and between threads.
    #[test]
    fn dice_are_dice() {
        let (mut one, mut other) = (Dice::new(), Dice::new());
        let drawn: std::collections::HashSet<u32> = (0..100).flat_map(|_| [one.draw(), other.draw()]).collect();
        assert!(drawn.len() > 190);
    }
}
