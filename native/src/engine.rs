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
use crate::snapshot::Snapshot;

/// So long whoever publishes waits for the last query on what was served before, to free it instead of a thread that
/// has queries to answer. A batch of queries takes less than a millisecond.
const RETIRE_LONGEST: Duration = Duration::from_millis(100);
const RETIRE_STEP: Duration = Duration::from_millis(1);

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

    /// What a query to this packet leaves behind: (zone's number, type, rcode, pools' numbers); None for silence.
    fn left(&self, packet: &[u8], client: &str, draw: u32, now: u64) -> PyResult<Option<(u32, u16, u16, Vec<u32>)>> {
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
