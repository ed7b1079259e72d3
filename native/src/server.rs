//! What Python sees of the sockets: it passes descriptors, starts, reads counts, and stops.
//!
//!     Engine (a snapshot, replaced at any time) + descriptors --start--> threads --stop--> everything answered

use crate::answer::{Outcome, answer, servfail};
use crate::batch::adopt;
use crate::counters::{Counters, sums};
use crate::engine::Engine;
use crate::service::{Failures, Question, Service};
use crate::snapshot::Snapshot;
use crate::tcp::{Limits, STOP, Tcp};
use crate::udp::Udp;
use arc_swap::{ArcSwap, Guard};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
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

    fn answer(held: &Self::Held, question: &Question<'_>, out: &mut Vec<u8>) -> bool {
        let Question { packet, client, draw, now, stream } = *question;
        answer(packet, client, held, draw, now, stream, out) == Outcome::Answered
    }

    fn servfail(packet: &[u8], out: &mut Vec<u8>) -> bool {
        servfail(packet, out) == Outcome::Answered
    }
}

/// The listening threads, from `start` until `stop`; neither of them can be had twice.
#[pyclass(frozen, module = "geodns._native")]
pub struct Server {
    service: Arc<Live>,
    udp_counters: Vec<Arc<Counters>>,
    tcp_counters: Vec<Arc<Counters>>,
    failures: Arc<Failures>,
    state: Mutex<State>,
}

enum State {
    Made { udp: Vec<(String, UdpSocket, bool)>, tcp: Vec<TcpListener>, limits: Limits },
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
        let counters = |count: usize| (0..count).map(|_| Arc::new(Counters::default())).collect();
        Ok(Server {
            service: Arc::new(Live(engine.current())),
            udp_counters: counters(udp.len()),
            tcp_counters: counters(tcp_threads.max(1)),
            failures: Arc::default(),
            state: Mutex::new(State::Made { udp, tcp, limits }),
        })
    }

    /// Begin to answer. Raises OSError if a thread can not be had.
    fn start(&self) -> PyResult<()> {
        let mut state = self.state();
        let State::Made { udp, tcp, limits } = std::mem::replace(&mut *state, State::Stopped) else {
            return Err(PyRuntimeError::new_err("it was started before"));
        };
        let tcp = Tcp::start(tcp, limits, &self.service, &self.tcp_counters, &self.failures)?;
        let mut started = Vec::new();
        for ((name, socket, is_wildcard), counters) in udp.into_iter().zip(&self.udp_counters) {
            let (service, failures) = (self.service.clone(), self.failures.clone());
            match Udp::start(&name, socket, is_wildcard, service, counters.clone(), failures) {
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
        for (name, counters) in [("udp", &self.udp_counters), ("tcp", &self.tcp_counters)] {
            let sums = sums(counters.iter().map(AsRef::as_ref)).into_iter();
            found.set_item(name, sums.collect::<std::collections::BTreeMap<String, u64>>())?;
        }
        Ok(found)
    }

    /// What went wrong since the last call, in words for the log; a few of them, the others are only counted.
    fn failures(&self) -> Vec<String> {
        self.failures.take()
    }
}

impl Server {
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
