//! What Python sees of the sockets: it passes descriptors, starts, reads counts, and stops.
//!
//!     Engine (a snapshot, replaced at any time) + descriptors --start--> threads --stop--> everything answered
//!     threads --next_handed--> Python --Handed.reply--> client

use crate::ahead::look_ahead;
use crate::answer::{Outcome, answer, servfail};
use crate::batch::adopt;
use crate::counters::sums;
use crate::engine::Engine;
use crate::handoff::{self, Waiting, queue};
use crate::left::Left;
use crate::rrl::Verdict;
use crate::sample::Wanted;
use crate::service::{Books, Common, Failures, Question, Service};
use crate::snapshot::Snapshot;
use crate::tally::{BUCKETS, Key};
use crate::tcp::{Limits, STOP, THREADS_MAX, Tcp};
use crate::udp::Udp;
use arc_swap::{ArcSwap, Guard};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::collections::{BTreeMap, HashMap};
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often threads that are to end are woken and looked at.
const LOOK: Duration = Duration::from_millis(1);

/// The engine, as the listeners see it.
struct Live(Arc<ArcSwap<Snapshot>>);

impl Service for Live {
    type Held = Guard<Arc<Snapshot>>;

    fn hold(&self) -> Self::Held {
        self.0.load()
    }

    fn look_ahead<'a>(held: &Self::Held, count: usize, packet: impl Fn(usize) -> &'a [u8]) {
        look_ahead(held, count, packet);
    }

    fn answer(held: &Self::Held, question: &Question<'_>, out: &mut Vec<u8>, left: &mut Left) -> Outcome {
        let Question { packet, client, draw, now, stream } = *question;
        answer(packet, client, held, draw, now, stream, out, left)
    }

    fn limit(held: &Self::Held, question: &Question<'_>, out: &mut Vec<u8>) -> Verdict {
        let Some(limiter) = &held.limiter else { return Verdict::Send };
        limiter.limit(question.packet, question.client, held, question.now, out)
    }

    fn servfail(packet: &[u8], out: &mut Vec<u8>) -> Outcome {
        servfail(packet, out)
    }
}

/// A query that Python answers, and may answer once.
#[pyclass(frozen, module = "geodns._native")]
pub struct Handed {
    handed: Mutex<Option<handoff::Handed>>,
    service: Arc<Live>,
    books: Arc<Books>,
}

/// (packet, client's address, port, Unix time in nanoseconds, whether it came over TCP).
type AskedOfPython<'py> = (Bound<'py, PyBytes>, String, u16, u64, bool);

#[pymethods]
impl Handed {
    /// (packet, client's address, its port, when it was received in nanoseconds of Unix time, whether over TCP). Raises
    /// RuntimeError after `reply`.
    fn asked<'py>(&self, py: Python<'py>) -> PyResult<AskedOfPython<'py>> {
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        let handed = handed.as_ref().ok_or_else(|| PyRuntimeError::new_err("it was answered before"))?;
        let client = handed.client;
        let packet = PyBytes::new(py, &handed.packet);
        Ok((packet, client.ip().to_string(), client.port(), handed.received, handed.is_stream()))
    }

    /// Send a reply, or none; over UDP what rate limiting makes of it. Returns what was sent.
    fn reply<'py>(&self, py: Python<'py>, octets: Option<Vec<u8>>) -> Option<Bound<'py, PyBytes>> {
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut out = octets?;
        if !handed.is_stream() {
            let held = self.service.hold();
            let (packet, client, now) = (&*handed.packet, handed.client.ip(), handed.received / 1_000_000_000);
            let question = Question { packet, client, draw: 0, now, stream: false };
            self.books.counters.limited(Live::limit(&held, &question, &mut out));
        }
        if out.is_empty() {
            return None;
        }
        let sent = PyBytes::new(py, &out);
        if handed.reply(out).is_err() {
            self.books.counters.send_errors.add(1);
        }
        Some(sent)
    }
}

/// The listening threads, from `start` until `stop`; neither of them can be had twice.
#[pyclass(frozen, module = "geodns._native")]
pub struct Server {
    service: Arc<Live>,
    /// Of each socket's thread.
    udp_books: Vec<Arc<Books>>,
    tcp_books: Vec<Arc<Books>>,
    /// Of the one thread of Python's that replies to what is handed over: what it counts is of UDP only.
    handed_books: Arc<Books>,
    wanted: Arc<Wanted>,
    room: Mutex<Vec<u8>>,
    failures: Arc<Failures>,
    waiting: Waiting,
    state: Mutex<State>,
}

enum State {
    Made { udp: Vec<(String, UdpSocket, bool)>, tcp: Vec<TcpListener>, limits: Limits, common: Common },
    Running { udp: Vec<Udp>, tcp: Tcp },
    Stopped,
}

/// (connections, connections per client, idle seconds, octets of unread answers, queries a turn), as config.Limits has
/// them.
type LimitsOfPython = (usize, usize, f64, usize, usize);

fn limits_of(limits: LimitsOfPython) -> PyResult<Limits> {
    let (connections, connections_per_client, idle_seconds, write_buffer_octets, queries_per_turn) = limits;
    let idle = seconds(idle_seconds)?;
    Ok(Limits { connections, connections_per_client, idle, write_buffer_octets, queries_per_turn })
}

fn seconds(of_python: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(of_python).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl Server {
    /// `udp` has (name, descriptor, whether it is a wildcard with PKTINFO) for each socket, and each gets a thread;
    /// `tcp` the descriptors of listening sockets, which `tcp_threads` share. The descriptors are duplicated.
    #[new]
    fn new(
        engine: &Engine,
        udp: Vec<(String, i32, bool)>,
        tcp: Vec<i32>,
        tcp_threads: usize,
        limits: LimitsOfPython,
    ) -> PyResult<Server> {
        let limits = limits_of(limits)?;
        let tcp =
            tcp.into_iter().map(|descriptor| Ok(TcpListener::from(adopt(descriptor)?))).collect::<PyResult<_>>()?;
        let udp: Vec<(String, UdpSocket, bool)> = udp
            .into_iter()
            .map(|(name, descriptor, is_wildcard)| Ok((name, UdpSocket::from(adopt(descriptor)?), is_wildcard)))
            .collect::<PyResult<_>>()?;
        let books = |count: usize| (0..count).map(|_| Arc::new(Books::default())).collect();
        let (handing, waiting) = queue();
        let common = Common { wanted: Arc::default(), failures: Arc::default(), handing };
        Ok(Server {
            service: Arc::new(Live(engine.current())),
            udp_books: books(udp.len()),
            tcp_books: books(tcp_threads.clamp(1, THREADS_MAX)),
            handed_books: Arc::default(),
            wanted: common.wanted.clone(),
            room: Mutex::default(),
            failures: common.failures.clone(),
            waiting,
            state: Mutex::new(State::Made { udp, tcp, limits, common }),
        })
    }

    /// Begin to answer. Raises OSError if a thread can not be had.
    fn start(&self) -> PyResult<()> {
        let mut state = self.state();
        let State::Made { udp, tcp, limits, common } = std::mem::replace(&mut *state, State::Stopped) else {
            return Err(PyRuntimeError::new_err("it was started before"));
        };
        let tcp = Tcp::start(tcp, limits, &self.service, &self.tcp_books, &common)?;
        let mut started = Vec::new();
        for ((name, socket, is_wildcard), books) in udp.into_iter().zip(&self.udp_books) {
            let (service, books) = (self.service.clone(), books.clone());
            match Udp::start(&name, socket, is_wildcard, service, books, common.clone()) {
                Ok(udp) => started.push(udp),
                Err(error) => {
                    stop(started, tcp);
                    return Err(PyOSError::new_err(error));
                }
            }
        }
        *state = State::Running { udp: started, tcp };
        Ok(())
    }

    /// Answer what the sockets have queued, within half a second, and end the threads.
    fn stop(&self, py: Python<'_>) {
        let before = std::mem::replace(&mut *self.state(), State::Stopped);
        if let State::Running { udp, tcp } = before {
            py.detach(|| stop(udp, tcp));
        }
    }

    /// End the threads, and leave the sockets with what they have queued to another process, which has them as well.
    /// TCP clients are answered until they fall idle, for as long as the patience lasts.
    fn drain(&self, py: Python<'_>, patience_seconds: f64) -> PyResult<()> {
        let patience = seconds(patience_seconds)?;
        let before = std::mem::replace(&mut *self.state(), State::Stopped);
        if let State::Running { udp, tcp } = before {
            py.detach(|| drain(udp, tcp, patience));
        }
        Ok(())
    }

    /// Take other limits from now on.
    fn set_limits(&self, limits: LimitsOfPython) -> PyResult<()> {
        let new = limits_of(limits)?;
        match &mut *self.state() {
            State::Made { limits, .. } => *limits = new,
            State::Running { tcp, .. } => tcp.set_limits(new),
            State::Stopped => {}
        }
        Ok(())
    }

    /// Whether all threads live; they end by themselves only when their socket is gone, or after many failures.
    #[getter]
    fn is_alive(&self) -> bool {
        match &*self.state() {
            State::Running { udp, tcp } => tcp.is_alive() && udp.iter().all(Udp::is_alive),
            _ => false,
        }
    }

    /// How many TCP connections there are.
    #[getter]
    fn connections(&self) -> usize {
        match &*self.state() {
            State::Running { tcp, .. } => tcp.connections(),
            _ => 0,
        }
    }

    /// {"udp": {"queries": ...}, "tcp": {...}}: sums over the threads, since the start.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        for (name, books) in self.books() {
            let all = books.iter().chain((name == "udp").then_some(&self.handed_books));
            let mut sums: BTreeMap<String, u64> = sums(all.map(|books| &books.counters)).into_iter().collect();
            sums.insert("unsampled".to_owned(), books.iter().map(|books| books.ring.dropped.get()).sum());
            sums.insert("uncounted".to_owned(), books.iter().map(|books| books.tally.uncounted.get()).sum());
            found.set_item(name, sums)?;
        }
        Ok(found)
    }

    /// For "udp" and "tcp": {(zone number, whether from IPv6, type, rcode): queries}, {pool number: answers}, and the
    /// queries that were measured, in `Latency`'s buckets.
    fn tallies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        for (name, books) in self.books() {
            let (mut asked, mut pools) = (HashMap::new(), HashMap::new());
            let mut latency = vec![0_u64; BUCKETS];
            for books in books {
                for (key, count) in books.tally.counts() {
                    match key {
                        Key::Asked { zone, is_v6, qtype, rcode } => {
                            *asked.entry((zone, is_v6, qtype, rcode)).or_insert(0) += count;
                        }
                        Key::Pool(number) => *pools.entry(number).or_insert(0) += count,
                    }
                }
                for (sum, count) in latency.iter_mut().zip(books.tally.latency.counts()) {
                    *sum += count;
                }
            }
            found.set_item(name, (asked, pools, latency))?;
        }
        Ok(found)
    }

    /// The next query that Python has to answer, as soon as there is one; None when the threads have ended. For one
    /// thread.
    fn next_handed(&self, py: Python<'_>) -> Option<Handed> {
        let handed = py.detach(|| self.waiting.take())?;
        let (service, books) = (self.service.clone(), self.handed_books.clone());
        Some(Handed { handed: Mutex::new(Some(handed)), service, books })
    }

    /// Have one of so many queries kept for `sampled`; 0 for none.
    fn sample(&self, every: u32) {
        self.wanted.set(every);
    }

    /// The records of the sample since the last call, as `sample.rs` has them, one after the other.
    fn sampled<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for books in self.udp_books.iter().chain(&self.tcp_books) {
            *room = books.ring.take(std::mem::take(&mut room));
            if !room.is_empty() {
                found.push(PyBytes::new(py, &room));
            }
        }
        found
    }

    /// What went wrong since the last call, in words for the log; a few of them, the others are only counted.
    fn failures(&self) -> Vec<String> {
        self.failures.take()
    }
}

impl Server {
    fn books(&self) -> [(&str, &[Arc<Books>]); 2] {
        [("udp", &self.udp_books), ("tcp", &self.tcp_books)]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drain(udp: Vec<Udp>, tcp: Tcp, patience: Duration) {
    let deadline = Instant::now() + STOP;
    tcp.drain(patience);
    udp.iter().for_each(Udp::leave);
    while udp.iter().any(Udp::is_alive) && Instant::now() < deadline {
        udp.iter().filter(|one| one.is_alive()).for_each(Udp::wake);
        std::thread::sleep(LOOK);
    }
    // One that still waits has taken nothing; it ends with the process.
    udp.into_iter().filter(|one| !one.is_alive()).for_each(|one| one.join(deadline));
    tcp.join();
}

fn stop(udp: Vec<Udp>, tcp: Tcp) {
    let deadline = Instant::now() + STOP;
    tcp.shut_down();
    udp.iter().for_each(Udp::shut_down);
    udp.into_iter().for_each(|one| one.join(deadline));
    tcp.join();
}
