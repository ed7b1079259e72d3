//! The loop: fill each port's free slots, take what has come, give up what is late.
//!
//!     Pace (how many are due) -> Port::send -> server -> Port::receive -> Slots (whose answer is it?) -> Tally

use crate::questions::Questions;
use crate::tcp::TcpPort;
use crate::udp::UdpPort;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

pub const QUERY_OCTETS_MAX: usize = 512;
pub const SLOTS_MAX: usize = 256; // per port: a query's ID is its slot and eight bits of generation
const SWEEP: Duration = Duration::from_millis(10); // how often late answers are looked for

pub struct Limits {
    pub count: u64,
    pub seconds: f64,
    pub window: usize,
    pub ports: usize,
    pub timeout: Duration,
    pub rate: Option<f64>, // questions a second; as many as are answered if left out
    pub tcp: bool,
}

#[derive(Default)]
pub struct Tally {
    pub sent: u64,
    pub seconds: f64,        // from the first question to the last answer
    pub latencies: Vec<u32>, // nanoseconds, one an answer
    pub rcodes: [u64; 16],
    pub truncated: u64,
    pub empty: u64, // answers without a record in the answer section
    pub octets: u64,
}

/// Something that questions go out of and answers come in at.
pub trait Port {
    /// For poll.
    fn descriptor(&self) -> RawFd;
    fn slots(&mut self) -> &mut Slots;
    /// Send a question for each of `count` free slots, which are there; how many went out.
    fn send(&mut self, questions: &mut Questions, count: usize, pace: &mut Pace) -> Result<usize, String>;
    /// Take the answers that are there; whether there was one.
    fn receive(&mut self, tally: &mut Tally) -> Result<bool, String>;
}

pub fn run(target: SocketAddr, limits: &Limits, questions: &mut Questions, spin: bool) -> Result<Tally, String> {
    let slots = limits.window / limits.ports;
    let mut ports: Vec<Box<dyn Port>> = (0..limits.ports)
        .map(|_| -> Result<Box<dyn Port>, String> {
            Ok(if limits.tcp {
                Box::new(TcpPort::open(target, slots)?)
            } else {
                Box::new(UdpPort::open(target, slots)?)
            })
        })
        .collect::<Result<_, _>>()?;
    let mut polled: Vec<libc::pollfd> =
        ports.iter().map(|port| libc::pollfd { fd: port.descriptor(), events: libc::POLLIN, revents: 0 }).collect();
    let spin = spin || limits.rate.is_some();
    let mut tally = Tally::default();
    let start = Instant::now();
    let mut pace = Pace::new(limits.rate, start);
    let end = start + Duration::from_secs_f64(limits.seconds);
    let (mut last, mut swept) = (start, start);
    loop {
        let now = Instant::now();
        let sending = now < end && tally.sent < limits.count;
        let mut waiting = 0;
        for port in &mut ports {
            let free = port.slots().free();
            if sending && free > 0 {
                let want = (limits.count - tally.sent).min(free as u64) as usize;
                let due = pace.due(now, want);
                if due > 0 {
                    tally.sent += port.send(questions, due, &mut pace)? as u64;
                }
            }
            waiting += slots - port.slots().free();
        }
        ports.rotate_left(1); // when few are due, each port has its share of them
        if waiting == 0 && !sending {
            break;
        }
        if !spin {
            // SAFETY: the vector has as many entries as is said, and outlives the call.
            unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, SWEEP.as_millis() as libc::c_int) };
        }
        for port in &mut ports {
            if port.receive(&mut tally)? {
                last = Instant::now();
            }
        }
        if now - swept >= SWEEP {
            swept = now;
            for port in &mut ports {
                port.slots().give_up(now, limits.timeout);
            }
        }
    }
    tally.seconds = (last - start).as_secs_f64().max(1e-9);
    Ok(tally)
}

/// When the questions are due: at once, or at equal distances. What is late for its time counts as waiting since then, so
/// that a server does not look better for having kept us from asking.
pub struct Pace {
    distance: Option<Duration>,
    next: Instant,
}

impl Pace {
    fn new(rate: Option<f64>, start: Instant) -> Pace {
        Pace { distance: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)), next: start }
    }

    /// How many questions are due, of `want` at most.
    fn due(&self, now: Instant, want: usize) -> usize {
        match self.distance {
            None => want,
            Some(_) if now < self.next => 0,
            Some(distance) => ((now - self.next).as_nanos() / distance.as_nanos()) as usize + 1,
        }
        .min(want)
    }

    /// Since when the next question counts as sent.
    pub fn take(&mut self, now: Instant) -> Instant {
        let Some(distance) = self.distance else { return now };
        let due = self.next;
        self.next += distance;
        due
    }
}

/// A port's share of the window. A query's ID is its slot and, above it, the slot's generation.
pub struct Slots {
    free: Vec<u8>,
    sent_at: Vec<Option<Instant>>,
    generation: Vec<u8>,
}

impl Slots {
    pub fn new(count: usize) -> Slots {
        assert!(count <= SLOTS_MAX);
        Slots {
            free: (0..count).map(|slot| slot as u8).collect(),
            sent_at: vec![None; count],
            generation: vec![0; count],
        }
    }

    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The ID of the question that is `at` places from the end of the free slots.
    pub fn id(&self, at: usize) -> u16 {
        let slot = self.free[self.free.len() - 1 - at];
        u16::from_be_bytes([self.generation[usize::from(slot)], slot])
    }

    /// The `count` slots at the end of the free ones wait for answers now.
    pub fn sent(&mut self, count: usize, now: Instant, pace: &mut Pace) {
        for _ in 0..count {
            if let Some(slot) = self.free.pop() {
                self.sent_at[usize::from(slot)] = Some(pace.take(now));
            }
        }
    }

    /// Count an answer, if it is one to what was asked.
    pub fn answered(&mut self, answer: &[u8], now: Instant, tally: &mut Tally) {
        if answer.len() < 12 || answer[2] & 0x80 == 0 {
            return; // not an answer
        }
        let (generation, slot) = (answer[0], usize::from(answer[1]));
        if slot >= self.sent_at.len() || self.generation[slot] != generation {
            return; // late: it was counted as lost
        }
        let Some(sent_at) = self.sent_at[slot].take() else { return };
        tally.latencies.push((now - sent_at).as_nanos().min(u128::from(u32::MAX)) as u32);
        tally.rcodes[usize::from(answer[3] & 15)] += 1;
        tally.truncated += u64::from(answer[2] & 2 != 0);
        tally.empty += u64::from(answer[6..8] == [0, 0]);
        tally.octets += answer.len() as u64;
        self.release(slot);
    }

    fn give_up(&mut self, now: Instant, timeout: Duration) {
        for slot in 0..self.sent_at.len() {
            if self.sent_at[slot].is_some_and(|sent_at| now.saturating_duration_since(sent_at) > timeout) {
                self.sent_at[slot] = None;
                self.release(slot);
            }
        }
    }

    fn release(&mut self, slot: usize) {
        self.generation[slot] = self.generation[slot].wrapping_add(1);
        self.free.push(slot as u8);
    }
}
