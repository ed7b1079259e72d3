//! The engine as Python sees it: it publishes snapshots, and a test can ask it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;

use crate::answer::{Outcome, answer};
use crate::copy::{Copier, NamesOfPools, NamesOfZones};
use crate::left::Left;
use crate::rrl::{Limiter, Network, RESPONSE_CLASSES, ResponseClass, Verdict};
use crate::snapshot::Snapshot;

/// So long whoever publishes waits for the last query on what was served before, to free it instead of a thread that
/// has queries to answer. A batch of queries takes less than a millisecond.
const RETIRE_LONGEST: Duration = Duration::from_millis(100);
const RETIRE_STEP: Duration = Duration::from_millis(1);

/// (zone's number, type, rcode, pools' numbers).
type LeftOfPython = (u32, u16, u16, Vec<u32>);

/// What the serving threads and Python share: the snapshot that is served.
#[pyclass(frozen)]
pub struct Engine {
    current: Arc<ArcSwap<Snapshot>>,
    copier: Mutex<Copier>,
}

impl Engine {
    /// Where the snapshot that is served is read; a query reads it once, or a batch of them does.
    pub fn current(&self) -> Arc<ArcSwap<Snapshot>> {
        self.current.clone()
    }

    /// The limiter of now, and whom and what it is asked about.
    fn limited(&self, client: &str, response_class: usize) -> PyResult<(Limiter, Network, ResponseClass)> {
        let nothing = || PyValueError::new_err("there is no limit, or no such class");
        let class = *RESPONSE_CLASSES.get(response_class).ok_or_else(nothing)?;
        let limiter = self.current.load().limiter.clone().ok_or_else(nothing)?;
        let network = limiter.rules.network(address(client)?);
        Ok((limiter, network, class))
    }
}

#[pymethods]
impl Engine {
    /// Without a snapshot everything is refused.
    #[new]
    fn new() -> Engine {
        Engine { current: Arc::new(ArcSwap::from_pointee(Snapshot::default())), copier: Mutex::default() }
    }

    /// Copy what is new in a `geodns.engine.snapshot.Snapshot`, and serve from it.
    fn publish(&self, snapshot: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = snapshot.py();
        let mut copier = self.copier.lock_py_attached(py).unwrap_or_else(|poisoned| poisoned.into_inner());
        let copied = copier.copy(snapshot)?;
        py.detach(|| retire(self.current.swap(Arc::new(copied))));
        Ok(())
    }

    /// The answer to a packet, as `geodns.engine.answer.answer` gives it.
    #[pyo3(signature = (packet, client, draw, now, stream = false))]
    fn answer<'py>(
        &self,
        py: Python<'py>,
        packet: &[u8],
        client: &str,
        draw: u32,
        now: u64,
        stream: bool,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let client = address(client)?;
        let mut out = Vec::new();
        let mut left = Left::default();
        let outcome = answer(packet, client, &self.current.load(), draw, now, stream, &mut out, &mut left);
        Ok((outcome == Outcome::Answered).then(|| PyBytes::new(py, &out)))
    }

    /// Whether the sockets hand this packet to Python. `answer` has no answer to it then.
    fn hands_over(&self, packet: &[u8]) -> bool {
        let (client, snapshot) = (IpAddr::from([0; 4]), self.current.load());
        answer(packet, client, &snapshot, 0, 0, false, &mut Vec::new(), &mut Left::default()) == Outcome::HandOver
    }

    /// What a query to this packet leaves behind: (zone's number, type, rcode, pools' numbers); None for silence.
    fn left(&self, packet: &[u8], client: &str, draw: u32, now: u64) -> PyResult<Option<LeftOfPython>> {
        let client = address(client)?;
        let (mut out, mut left) = (Vec::new(), Left::default());
        let outcome = answer(packet, client, &self.current.load(), draw, now, false, &mut out, &mut left);
        let found = (left.zone, left.qtype, left.rcode, left.pools().to_vec());
        Ok((outcome == Outcome::Answered).then_some(found))
    }

    /// The names that numbers stand for: {number: apex}, {number: (apex, pool)}; a pool "" is a record's own values.
    fn names(&self, py: Python<'_>) -> (NamesOfZones, NamesOfPools) {
        let copier = self.copier.lock_py_attached(py).unwrap_or_else(|poisoned| poisoned.into_inner());
        copier.names.told()
    }

    /// What becomes of the answer to a packet over UDP, as `geodns.engine.rrl.limit` says it: (octets, verdict).
    fn limit<'py>(
        &self,
        py: Python<'py>,
        packet: &[u8],
        client: &str,
        draw: u32,
        now: u64,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, u8)> {
        let client = address(client)?;
        let snapshot = self.current.load();
        let mut out = Vec::new();
        let mut verdict = Verdict::Send;
        if answer(packet, client, &snapshot, draw, now, false, &mut out, &mut Left::default()) == Outcome::Answered
            && let Some(limiter) = &snapshot.limiter
        {
            verdict = limiter.limit(packet, client, &snapshot, now, &mut out);
        }
        Ok(((!out.is_empty()).then(|| PyBytes::new(py, &out)), verdict as u8))
    }

    /// Take a token, as `geodns.engine.rrl.Buckets.take` does: (verdict, whether a limit begins).
    fn take(&self, client: &str, response_class: usize, now: u64) -> PyResult<(u8, bool)> {
        let (limiter, network, class) = self.limited(client, response_class)?;
        let (verdict, begins) = limiter.buckets.take(&limiter.rules, network, class, now);
        Ok((verdict as u8, begins))
    }

    /// Whether a limit on this client's network that has begun has not ended.
    fn is_limited(&self, client: &str, response_class: usize, now: u64) -> PyResult<bool> {
        let (limiter, network, class) = self.limited(client, response_class)?;
        Ok(limiter.buckets.is_limited(&limiter.rules, network, class, now))
    }

    /// Limits that began since the last call: the network's first address and the class; some of them if they are many.
    fn limits_begun(&self) -> Vec<(String, u8)> {
        let snapshot = self.current.load();
        let begun = snapshot.limiter.as_ref().map(|limiter| limiter.begun.take()).unwrap_or_default();
        begun.into_iter().map(|(network, class)| (network.address().to_string(), class as u8)).collect()
    }

    /// Answer these packets, one after the other and all of them several times: seconds for each time.
    fn time(&self, py: Python<'_>, packets: Vec<Vec<u8>>, client: &str, now: u64, times: usize) -> PyResult<Vec<f64>> {
        let client = address(client)?;
        Ok(py.detach(|| {
            let (mut out, mut left) = (Vec::new(), Left::default());
            let mut once = || {
                let snapshot = self.current.load_full();
                let began = Instant::now();
                for packet in &packets {
                    std::hint::black_box(answer(
                        packet,
                        client,
                        &snapshot,
                        0x1234_5678,
                        now,
                        false,
                        &mut out,
                        &mut left,
                    ));
                    if let Some(limiter) = &snapshot.limiter {
                        std::hint::black_box(limiter.limit(packet, client, &snapshot, now, &mut out));
                    }
                }
                began.elapsed().as_secs_f64()
            };
            (0..times).map(|_| once()).collect()
        }))
    }
}

fn address(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{text:?} is not an address")))
}

/// Free a snapshot in this thread, if the last query on it ends soon.
fn retire(old: Arc<Snapshot>) {
    let began = Instant::now();
    while Arc::strong_count(&old) > 1 && began.elapsed() < RETIRE_LONGEST {
        std::thread::sleep(RETIRE_STEP);
    }
}
