//! What the sockets ask: something that holds still for a batch, answers, and may fail.
//!
//!     packet --Asking (dice, clock, panics contained, counts)--> Service::answer --> octets, or none
//!
//! The listeners know no more of the engine than this, so that they can be tested with a service that does as it is
//! told.

use crate::counters::Counters;
use std::any::Any;
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Failures kept until somebody asks for them; the others are only counted.
const FAILURES_KEPT: usize = 16;
/// Octets told of a packet on which the engine failed.
const PACKET_OCTETS_TOLD: usize = 512;

/// An engine with a snapshot that may be replaced at any time.
pub trait Service: Send + Sync + 'static {
    /// One snapshot, held for as long as a batch takes.
    type Held;

    /// The snapshot that is served now.
    fn hold(&self) -> Self::Held;

    /// Answer into `out`, which is empty; false for what gets no answer.
    fn answer(held: &Self::Held, question: &Question<'_>, out: &mut Vec<u8>) -> bool;

    /// Put SERVFAIL for this packet into `out`, which is empty; false for what gets no answer.
    fn servfail(packet: &[u8], out: &mut Vec<u8>) -> bool;
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

/// One thread's way to ask: it has the thread's dice, and counts.
pub struct Asking<'a, S: Service> {
    counters: &'a Counters,
    failures: &'a Failures,
    dice: Dice,
    stream: bool,
    held: Option<S::Held>,
    now: u64,
}

impl<'a, S: Service> Asking<'a, S> {
    /// With dice of its own; `stream` says that the queries come over TCP.
    pub fn new(counters: &'a Counters, failures: &'a Failures, stream: bool) -> Asking<'a, S> {
        Asking { counters, failures, dice: Dice::new(), stream, held: None, now: 0 }
    }

    /// From here to `end` all queries see the same snapshot and the same second.
    pub fn begin(&mut self, service: &S) {
        self.held = Some(service.hold());
        self.now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    }

    /// Give the snapshot back: nobody may hold it while nothing comes.
    pub fn end(&mut self) {
        self.held = None;
    }

    /// Answer into `out`, which is cleared; false for what gets no answer. Never panics: what the engine does not
    /// survive is answered SERVFAIL, counted and kept to be told.
    pub fn ask(&mut self, packet: &[u8], client: IpAddr, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Some(held) = &self.held else { return false };
        let question = Question { packet, client, draw: self.dice.draw(), now: self.now, stream: self.stream };
        self.counters.queries.add(1);
        // AssertUnwindSafe: after a panic `out` is cleared, the dice are numbers, and a snapshot is never changed.
        let is_answered = match catch_unwind(AssertUnwindSafe(|| S::answer(held, &question, out))) {
            Ok(is_answered) => is_answered,
            Err(panic) => self.failed(packet, client, panic.as_ref(), out),
        };
        if is_answered {
            self.counters.answered(out);
        } else {
            out.clear();
            self.counters.silent.add(1);
        }
        is_answered
    }

    #[cold]
    fn failed(&self, packet: &[u8], client: IpAddr, panic: &(dyn Any + Send), out: &mut Vec<u8>) -> bool {
        self.counters.panics.add(1);
        let told = &packet[..packet.len().min(PACKET_OCTETS_TOLD)];
        let hex = told.iter().fold(String::new(), |mut hex, octet| {
            let _ = write!(hex, "{octet:02x}");
            hex
        });
        let what = words(panic);
        self.failures.add(format!(
            "the engine failed on a query from {client}: {what}; answered SERVFAIL; please report this with the packet: \
             {hex}"
        ));
        out.clear();
        // What made the engine fail may do so again.
        catch_unwind(AssertUnwindSafe(|| S::servfail(packet, out))).unwrap_or(false)
    }
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

    /// Echoes; panics on `panic`, is silent on `hush`, answers 70,000 octets to `huge`.
    pub struct Echo;

    impl Service for Echo {
        type Held = ();

        fn hold(&self) {}

        fn answer(_: &(), question: &Question<'_>, out: &mut Vec<u8>) -> bool {
            assert!(!question.packet.starts_with(b"panic"), "told to");
            if question.packet.starts_with(b"huge") {
                out.resize(70_000, 0);
            } else {
                out.extend_from_slice(question.packet);
            }
            !question.packet.starts_with(b"hush")
        }

        fn servfail(packet: &[u8], out: &mut Vec<u8>) -> bool {
            out.extend_from_slice(b"servfail ");
            out.extend_from_slice(packet);
            true
        }
    }

    /// A panic of the engine becomes SERVFAIL, is counted and told with the packet; the next query is answered.
    #[test]
    fn a_panic_costs_one_query() {
        contain_panics();
        let (counters, failures) = (Counters::default(), Failures::default());
        let mut asking = Asking::<Echo>::new(&counters, &failures, false);
        let client = IpAddr::from([192, 0, 2, 1]);
        let mut out = Vec::new();
        asking.begin(&Echo);
        assert!(asking.ask(b"panic", client, &mut out));
        assert_eq!(b"servfail panic", out.as_slice());
        assert!(asking.ask(b"fine", client, &mut out));
        assert_eq!(b"fine", out.as_slice());
        assert_eq!((2, 1), (counters.queries.get(), counters.panics.get()));
        let told = failures.take().concat();
        assert!(told.contains("192.0.2.1: told to at ") && told.ends_with("70616e6963"), "{told}");
        assert!(failures.take().is_empty());
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
