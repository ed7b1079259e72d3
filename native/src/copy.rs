//! From Python's Snapshot to ours: every object that it shares is walked once, and what is the same object as at the
//! time before is not walked again.
//!
//!     Table --Zones--> Arc<Table>      Partitions, Standings --by identity--> Arc<Partition>, Arc<Standing>
//!
//! Python's lock is held while its objects are read, and let go of now and then. No query needs it, or any of ours.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use pyo3::exceptions::{PyRecursionError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyString, PyTuple};

use crate::bound;
use crate::left::NO_ZONE;
use crate::partition::{Arrays, Partition};
use crate::rrl::{Begun, Buckets, Limiter, Rules};
use crate::shape::{
    Alternative, Below, Body, Choice, Cut, Dname, NO_CHOICE, Node, Outcome, Plan, PlanAt, Record, Span, Zone,
};
use crate::snapshot::{SECRET_OCTETS, Snapshot, Table};
use crate::steer::{Member, Policy, Pool, PoolStanding, Rule, Standing, Steer, WhenAllDown};

/// Nodes that are read before Python's lock is offered to others: half a millisecond's work.
const NODES_PER_SLICE: usize = 128;
/// Choices inside choices; the compiler makes two at the most.
const DEPTH_MAX: usize = 16;

type Object = Py<PyAny>;

/// By identity: objects that are held, so that no other can come to have the address of one.
type Known<T> = HashMap<usize, (Object, Arc<T>), foldhash::fast::RandomState>;
/// By identity, of objects that something else holds for as long as this is needed.
type Seen<T> = HashMap<usize, T, foldhash::fast::RandomState>;

/// Apexes by the numbers of zones.
pub type NamesOfZones = HashMap<u32, Vec<u8>>;
/// Apexes and names by the numbers of pools.
pub type NamesOfPools = HashMap<u32, (Vec<u8>, String)>;

/// The numbers under which zones and pools are counted: a name keeps its own for as long as this lives, so that counts
/// go on where they were when what is served is replaced.
#[derive(Default)]
pub struct Names {
    zones: HashMap<Vec<u8>, u32>,
    pools: HashMap<(u32, String), u32>,
}

impl Names {
    fn zone(&mut self, apex: &[u8]) -> u32 {
        let next = self.zones.len() as u32 + NO_ZONE + 1;
        *self.zones.entry(apex.to_vec()).or_insert(next)
    }

    fn pool(&mut self, zone: u32, name: String) -> u32 {
        let next = self.pools.len() as u32;
        *self.pools.entry((zone, name)).or_insert(next)
    }

    /// All of them, by their numbers.
    pub fn told(&self) -> (NamesOfZones, NamesOfPools) {
        let zones: NamesOfZones = self.zones.iter().map(|(apex, &number)| (number, apex.clone())).collect();
        let pools = self.pools.iter().map(|((zone, name), &number)| (number, (zones[zone].clone(), name.clone())));
        let pools = pools.collect();
        (zones, pools)
    }
}

/// What was copied for the snapshot that is served.
#[derive(Default)]
pub struct Copier {
    table: Option<(Object, Arc<Table>)>,
    zones: Known<Zone>,
    /// The keys of `Zone.steers`, as Python hashes them.
    steer_keys: Seen<Vec<Py<PyString>>>,
    partitions: Known<Partition>,
    standings: Known<Standing>,
    /// The mappings that `bound` was made of.
    mappings: Option<(Object, Object)>,
    bound: Vec<bound::Bound>,
    /// What counts are kept under.
    pub names: Names,
    /// As long as limiting is switched on.
    buckets: Option<(Arc<Buckets>, Arc<Begun>)>,
}

/// The address in 4 or 16 octets.
fn packed(octets: &[u8]) -> PyResult<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).map_err(|_| broken("no address"))
}

fn id(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

impl Copier {
    /// Our form of a `geodns.engine.snapshot.Snapshot`. After an error everything is as it was before.
    pub fn copy(&mut self, given: &Bound<'_, PyAny>) -> PyResult<Snapshot> {
        let py = given.py();
        let given_table = given.getattr(intern!(py, "table"))?;
        let is_same_table = self.table.as_ref().is_some_and(|(known, _)| known.is(&given_table));
        if !is_same_table {
            self.take_table(&given_table)?;
        }
        let partitions = given.getattr(intern!(py, "partitions"))?;
        let standings = given.getattr(intern!(py, "standings"))?;
        self.bind(&partitions, &standings, is_same_table)?;
        let identity = given.getattr(intern!(py, "identity"))?;
        let secrets: Vec<Vec<u8>> = given.getattr(intern!(py, "cookie_secrets"))?.extract()?;
        let secrets = secrets.into_iter().map(|secret| {
            let count = secret.len();
            <[u8; SECRET_OCTETS]>::try_from(secret).map_err(|_| broken(format!("a secret of {count} octets")))
        });
        Ok(Snapshot {
            table: self.table.as_ref().map(|(_, table)| table.clone()).unwrap_or_default(),
            bound: self.bound.clone(),
            server_id: identity.getattr(intern!(py, "server_id"))?.extract()?,
            udp_size_max: given.getattr(intern!(py, "udp_size_max"))?.extract()?,
            cookie_secrets: secrets.collect::<PyResult<_>>()?,
            tcp_keepalive: given.getattr(intern!(py, "tcp_keepalive"))?.extract()?,
            limiter: self.limiter(&given.getattr(intern!(py, "rrl"))?)?,
        })
    }

    /// The limiter for a `geodns.engine.snapshot.Rrl`, with what the one before knows.
    fn limiter(&mut self, given: &Bound<'_, PyAny>) -> PyResult<Option<Limiter>> {
        if given.is_none() {
            self.buckets = None;
            return Ok(None);
        }
        let py = given.py();
        let count: usize = given.getattr(intern!(py, "buckets"))?.extract()?;
        let kept = self.buckets.take().filter(|(buckets, _)| buckets.len() == count);
        let (buckets, begun) = kept.unwrap_or_else(|| (Arc::new(Buckets::new(count)), Arc::default()));
        self.buckets = Some((buckets.clone(), begun.clone()));
        let exempt: Vec<(Vec<u8>, u32)> = given.getattr(intern!(py, "exempt"))?.extract()?;
        let rules = Rules {
            rates: given.getattr(intern!(py, "rates"))?.extract()?,
            burst_seconds: given.getattr(intern!(py, "burst_seconds"))?.extract()?,
            slip: given.getattr(intern!(py, "slip"))?.extract()?,
            bits4: given.getattr(intern!(py, "bits4"))?.extract()?,
            bits6: given.getattr(intern!(py, "bits6"))?.extract()?,
            exempt: exempt.into_iter().map(|(octets, bits)| Ok((packed(&octets)?, bits))).collect::<PyResult<_>>()?,
            log_only: given.getattr(intern!(py, "log_only"))?.extract()?,
            badcookie: given.getattr(intern!(py, "badcookie"))?.extract()?,
            key: given.getattr(intern!(py, "key"))?.extract()?,
        };
        Ok(Some(Limiter { rules, buckets, begun }))
    }

    fn take_table(&mut self, given: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = given.py();
        let mut zones = Known::default();
        let mut steer_keys = Seen::default();
        let mut linked = Vec::new();
        let given_zones = given.getattr(intern!(py, "zones"))?.call_method0(intern!(py, "values"))?;
        let overlays = given.getattr(intern!(py, "overlays"))?;
        let overlay_count = overlays.len()?;
        for zone in given_zones.try_iter()?.chain(overlays.try_iter()?) {
            let zone = zone?;
            let copied = match self.zones.get(&id(&zone)) {
                Some((_, known)) => known.clone(),
                None => Arc::new(Copying::zone(&zone, &mut self.names)?),
            };
            let keys = copied.steers.iter().map(|steer| PyString::new(py, &steer.key).unbind()).collect();
            steer_keys.insert(Arc::as_ptr(&copied) as usize, keys);
            linked.push(copied.clone());
            zones.insert(id(&zone), (zone.unbind(), copied));
        }
        let failed = given.getattr(intern!(py, "failed"))?.try_iter()?;
        let failed = failed.map(|apex| apex?.extract::<Vec<u8>>()).collect::<PyResult<_>>()?;
        let overlays = linked.split_off(linked.len() - overlay_count);
        let table = Arc::new(py.detach(|| Table::link(linked, overlays, failed)));
        (self.zones, self.steer_keys, self.mappings) = (zones, steer_keys, None);
        self.table = Some((given.clone().unbind(), table));
        Ok(())
    }

    /// Find the partition and the standing of every choice.
    fn bind(
        &mut self,
        partitions: &Bound<'_, PyAny>,
        standings: &Bound<'_, PyAny>,
        is_same_table: bool,
    ) -> PyResult<()> {
        let py = partitions.py();
        let Some((_, table)) = &self.table else { return Ok(()) };
        let known = self.mappings.as_ref().filter(|_| is_same_table);
        let has_partitions = known.is_some_and(|(known, _)| known.is(partitions));
        let has_standings = known.is_some_and(|(_, known)| known.is(standings));
        let mut bound = self.bound.clone();
        bound.resize(table.zones.len(), bound::Bound::default());
        let mut new_partitions = Known::default();
        let mut new_standings = Known::default();
        for (zone, bound) in table.zones.iter().zip(&mut bound) {
            let (mut its_partitions, mut its_standings) = bound.parts();
            if !has_partitions {
                its_partitions = Arc::new(bind_partitions(zone, partitions, &self.partitions, &mut new_partitions)?);
            }
            if !has_standings {
                let keys = &self.steer_keys[&(Arc::as_ptr(zone) as usize)];
                let standings = standings.cast::<PyMapping>()?;
                its_standings = Arc::new(bind_standings(zone, keys, standings, &self.standings, &mut new_standings)?);
            }
            py.detach(|| {
                if !has_partitions {
                    *bound = bound::Bound::new(zone, its_partitions, its_standings);
                } else if !has_standings {
                    *bound = bound.with(zone, its_standings);
                }
            });
        }
        if !has_partitions {
            self.partitions = new_partitions;
        }
        if !has_standings {
            self.standings = new_standings;
        }
        self.bound = bound;
        self.mappings = Some((partitions.clone().unbind(), standings.clone().unbind()));
        Ok(())
    }
}

fn bind_partitions(
    zone: &Zone,
    given: &Bound<'_, PyAny>,
    known: &Known<Partition>,
    kept: &mut Known<Partition>,
) -> PyResult<Vec<Arc<Partition>>> {
    let mut found = Vec::with_capacity(zone.keys.len());
    for key in &zone.keys {
        let partition = given.get_item(key)?;
        found.push(shared(&partition, known, kept, copy_partition)?);
    }
    Ok(found)
}

fn bind_standings(
    zone: &Zone,
    keys: &[Py<PyString>],
    given: &Bound<'_, PyMapping>,
    known: &Known<Standing>,
    kept: &mut Known<Standing>,
) -> PyResult<Vec<Option<Arc<Standing>>>> {
    let py = given.py();
    if given.len()? == 0 {
        return Ok(vec![None; zone.steers.len()]);
    }
    let get = given.getattr(intern!(py, "get"))?;
    let mut found = Vec::with_capacity(keys.len());
    for (key, steer) in keys.iter().zip(&zone.steers) {
        let standing = get.call1((key,))?;
        if standing.is_none() {
            found.push(None);
            continue;
        }
        let copied = shared(&standing, known, kept, copy_standing)?;
        // Two zones may have a steered name of the same name, of which only one is served and looked after.
        found.push(Some(copied).filter(|copied| steer.fits(copied)));
    }
    Ok(found)
}

/// Our form of an object: made before, made for this snapshot already, or made now.
fn shared<T>(
    object: &Bound<'_, PyAny>,
    known: &Known<T>,
    kept: &mut Known<T>,
    copy: fn(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Arc<T>> {
    if let Some((_, found)) = kept.get(&id(object)) {
        return Ok(found.clone());
    }
    let copied = match known.get(&id(object)) {
        Some((_, found)) => found.clone(),
        None => Arc::new(copy(object)?),
    };
    kept.insert(id(object), (object.clone().unbind(), copied.clone()));
    Ok(copied)
}

fn broken(what: impl Into<String>) -> PyErr {
    PyValueError::new_err(what.into())
}

fn too_large() -> PyErr {
    broken("a zone has more than 2**32 octets or records")
}

/// A count or an offset in one of a zone's arrays.
fn count(items: usize) -> PyResult<u32> {
    u32::try_from(items).map_err(|_| too_large())
}

fn copy_standing(given: &Bound<'_, PyAny>) -> PyResult<Standing> {
    let py = given.py();
    let mut pools = Vec::new();
    for pool in given.getattr(intern!(py, "pools"))?.try_iter()? {
        let pool = pool?;
        pools.push(PoolStanding {
            up: pool.getattr(intern!(py, "up"))?.extract()?,
            is_up: pool.getattr(intern!(py, "is_up"))?.extract()?,
            ramps: pool.getattr(intern!(py, "ramps"))?.extract()?,
            ttl: pool.getattr(intern!(py, "ttl"))?.extract()?,
        });
    }
    Ok(Standing { pools })
}

fn copy_partition(given: &Bound<'_, PyAny>) -> PyResult<Partition> {
    let py = given.py();
    let outcomes = |name: &str| -> PyResult<Vec<i32>> {
        let array = given.getattr(name)?;
        let octets = octets_of(&array)?;
        Ok(match array.getattr(intern!(py, "itemsize"))?.extract::<usize>()? {
            1 => octets.iter().map(|&octet| i32::from(octet as i8)).collect(),
            2 => octets.as_chunks().0.iter().map(|&chunk| i32::from(i16::from_ne_bytes(chunk))).collect(),
            4 => octets.as_chunks().0.iter().map(|&chunk| i32::from_ne_bytes(chunk)).collect(),
            size => return Err(broken(format!("outcomes of {size} octets"))),
        })
    };
    let words = |name: &str| -> PyResult<Vec<u64>> {
        let octets = octets_of(&given.getattr(name)?)?;
        Ok(octets.as_chunks().0.iter().map(|&chunk| u64::from_ne_bytes(chunk)).collect())
    };
    let starts4 = octets_of(&given.getattr(intern!(py, "starts4"))?)?;
    let (high6, low6) = (words("high6")?, words("low6")?);
    let arrays = Arrays {
        starts4: starts4.as_chunks().0.iter().map(|&chunk| u32::from_ne_bytes(chunk)).collect(),
        outcomes4: outcomes("outcomes4")?,
        starts6: high6.iter().zip(&low6).map(|(&high, &low)| u128::from(high) << 64 | u128::from(low)).collect(),
        outcomes6: outcomes("outcomes6")?,
        elsewhere: given.getattr(intern!(py, "elsewhere"))?.extract()?,
        routes: given.getattr(intern!(py, "routes"))?.extract()?,
    };
    py.detach(|| Partition::new(arrays)).ok_or_else(|| broken("a partition that is not in order"))
}

/// The items of an array.array, as they stand in memory.
fn octets_of(array: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    array.call_method0(intern!(array.py(), "tobytes"))?.extract()
}

/// The classes and values of `geodns.table` that what is walked is told apart by.
struct Words<'py> {
    plan: Bound<'py, PyAny>,
    dname: Bound<'py, PyAny>,
    outcomes: [(usize, Outcome); 4],
}

impl<'py> Words<'py> {
    fn new(py: Python<'py>) -> PyResult<Words<'py>> {
        let shape = py.import("geodns.table.shape")?;
        let outcome = shape.getattr("Outcome")?;
        let word = |name: &str, outcome_of: Outcome| -> PyResult<(usize, Outcome)> {
            Ok((id(&outcome.getattr(name)?), outcome_of))
        };
        Ok(Words {
            plan: shape.getattr("Plan")?,
            dname: shape.getattr("Dname")?,
            outcomes: [
                word("HIT", Outcome::Hit)?,
                word("NODATA", Outcome::Nodata)?,
                word("NXDOMAIN", Outcome::Nxdomain)?,
                word("REFERRAL", Outcome::Referral)?,
            ],
        })
    }
}

/// A zone that is being copied.
struct Copying<'py, 'n> {
    py: Python<'py>,
    names: &'n mut Names,
    words: Words<'py>,
    zone: Zone,
    stand_ins: Vec<Node>,
    plans: Seen<PlanAt>,
    bodies: Seen<Body>,
    records: Seen<u32>,
    choices: Seen<u32>,
    steers: Seen<u32>,
    dnames: Seen<u32>,
    stand_in_at: Seen<u32>,
    keys: HashMap<String, u32>,
    tuples: Seen<Span>,
    offsets: HashMap<Vec<u32>, Span>,
}

impl<'py, 'n> Copying<'py, 'n> {
    fn zone(given: &Bound<'py, PyAny>, names: &'n mut Names) -> PyResult<Zone> {
        let py = given.py();
        let apex: Vec<u8> = given.getattr(intern!(py, "apex"))?.extract()?;
        let number = names.zone(&apex);
        let mut copying = Copying {
            py,
            names,
            words: Words::new(py)?,
            zone: Zone { apex, number, ..Zone::default() },
            stand_ins: Vec::new(),
            plans: Seen::default(),
            bodies: Seen::default(),
            records: Seen::default(),
            choices: Seen::default(),
            steers: Seen::default(),
            dnames: Seen::default(),
            stand_in_at: Seen::default(),
            keys: HashMap::default(),
            tuples: Seen::default(),
            offsets: HashMap::default(),
        };
        copying.zone.nxdomain = copying.plan(&given.getattr(intern!(py, "nxdomain"))?, 0)?;
        copying.nodes(given.getattr(intern!(py, "nodes"))?.cast::<PyDict>()?)?;
        Ok(copying.zone)
    }

    fn nodes(&mut self, given: &Bound<'py, PyDict>) -> PyResult<()> {
        let items = given.items(); // held by this list, whatever becomes of the dict
        self.zone.names = items.len();
        self.zone.nodes.reserve(items.len());
        for (at, item) in items.iter().enumerate() {
            if at % NODES_PER_SLICE == NODES_PER_SLICE - 1 {
                self.py.detach(std::thread::yield_now);
            }
            let (key, node): (Bound<'py, PyBytes>, Bound<'py, PyAny>) = item.extract()?;
            let name = self.octets(key.as_bytes())?;
            let node = self.node(&node, name)?;
            self.zone.nodes.push(node);
        }
        self.zone.nodes.append(&mut self.stand_ins);
        Ok(())
    }

    fn node(&mut self, given: &Bound<'py, PyAny>, name: Span) -> PyResult<Node> {
        let py = self.py;
        let plans = self.typed(given.getattr(intern!(py, "plans"))?.cast::<PyDict>()?)?;
        let other = self.plan(&given.getattr(intern!(py, "other"))?, 0)?;
        let below = self.below(&given.getattr(intern!(py, "below"))?)?;
        Ok(Node { name, plans, other, below })
    }

    fn typed(&mut self, given: &Bound<'py, PyDict>) -> PyResult<Span> {
        let mut plans = Vec::with_capacity(given.len());
        for (rtype, plan) in given.iter() {
            plans.push((rtype.extract::<u16>()?, self.plan(&plan, 0)?));
        }
        let start = count(self.zone.typed.len())?;
        self.zone.typed.append(&mut plans);
        Ok(Span { start, len: count(given.len())? })
    }

    fn below(&mut self, given: &Bound<'py, PyAny>) -> PyResult<Below> {
        if given.is_none() {
            return Ok(Below::Nothing);
        }
        let kind = given.get_type();
        if kind.is(&self.words.plan) {
            return Ok(Below::Plan(self.plan(given, 0)?));
        }
        if kind.is(&self.words.dname) {
            return Ok(Below::Dname(self.dname(given)?));
        }
        if let Some(&known) = self.stand_in_at.get(&id(given)) {
            return Ok(Below::Node(known));
        }
        let mut node = self.node(given, Span::default())?;
        node.below = Below::Nothing; // it stands in for names that have nothing below
        let at = count(self.zone.names + self.stand_ins.len())?;
        self.stand_ins.push(node);
        self.stand_in_at.insert(id(given), at);
        Ok(Below::Node(at))
    }

    fn dname(&mut self, given: &Bound<'py, PyAny>) -> PyResult<u32> {
        if let Some(&known) = self.dnames.get(&id(given)) {
            return Ok(known);
        }
        let plan = self.plan(&given.getattr(intern!(self.py, "plan"))?, 0)?;
        let apex = given.getattr(intern!(self.py, "apex"))?;
        let apex = self.octets(apex.cast::<PyBytes>()?.as_bytes())?;
        let at = count(self.zone.dnames.len())?;
        self.zone.dnames.push(Dname { plan, apex });
        self.dnames.insert(id(given), at);
        Ok(at)
    }

    fn plan(&mut self, given: &Bound<'py, PyAny>, depth: usize) -> PyResult<PlanAt> {
        if let Some(&known) = self.plans.get(&id(given)) {
            return Ok(known);
        }
        if depth > DEPTH_MAX {
            return Err(PyRecursionError::new_err("choices that lead to choices without end"));
        }
        let py = self.py;
        let body = self.body(&given.getattr(intern!(py, "body"))?)?;
        let flags = given.getattr(intern!(py, "flags"))?.extract()?;
        let outcome = self.outcome(&given.getattr(intern!(py, "outcome"))?)?;
        let choice = given.getattr(intern!(py, "choice"))?;
        let choice = if choice.is_none() { NO_CHOICE } else { self.choice(&choice, depth + 1)? };
        let at = count(self.zone.plans.len())?;
        self.zone.plans.push(Plan { body, choice, flags, outcome });
        self.plans.insert(id(given), at);
        Ok(at)
    }

    fn outcome(&self, given: &Bound<'py, PyAny>) -> PyResult<Outcome> {
        let found = self.words.outcomes.iter().find(|(known, _)| *known == id(given));
        found.map(|(_, outcome)| *outcome).ok_or_else(|| broken("an outcome of no known kind"))
    }

    fn body(&mut self, given: &Bound<'py, PyAny>) -> PyResult<Body> {
        if let Some(known) = self.bodies.get(&id(given)) {
            return Ok(*known);
        }
        let py = self.py;
        let data = given.getattr(intern!(py, "data"))?;
        let data = self.octets(data.cast::<PyBytes>()?.as_bytes())?;
        let body = Body {
            data,
            ancount: given.getattr(intern!(py, "ancount"))?.extract()?,
            nscount: given.getattr(intern!(py, "nscount"))?.extract()?,
            arcount: given.getattr(intern!(py, "arcount"))?.extract()?,
            base: given.getattr(intern!(py, "base"))?.extract()?,
            pointers: self.offsets(&given.getattr(intern!(py, "pointers"))?)?,
            owners: self.offsets(&given.getattr(intern!(py, "owners"))?)?,
            ttls: self.offsets(&given.getattr(intern!(py, "ttls"))?)?,
            cuts: self.cuts(&given.getattr(intern!(py, "cuts"))?)?,
        };
        self.bodies.insert(id(given), body);
        Ok(body)
    }

    fn octets(&mut self, octets: &[u8]) -> PyResult<Span> {
        let span = Span { start: count(self.zone.octets.len())?, len: count(octets.len())? };
        self.zone.octets.extend_from_slice(octets);
        Ok(span)
    }

    /// Most bodies have the same few tuples of offsets.
    fn offsets(&mut self, given: &Bound<'py, PyAny>) -> PyResult<Span> {
        let given = given.cast::<PyTuple>()?;
        if given.is_empty() {
            return Ok(Span::default());
        }
        if let Some(&known) = self.tuples.get(&id(given)) {
            return Ok(known);
        }
        let offsets: Vec<u32> = given.extract()?;
        let span = match self.offsets.get(&offsets) {
            Some(&known) => known,
            None => {
                let span = Span { start: count(self.zone.offsets.len())?, len: count(offsets.len())? };
                self.zone.offsets.extend_from_slice(&offsets);
                self.offsets.insert(offsets, span);
                span
            }
        };
        self.tuples.insert(id(given), span);
        Ok(span)
    }

    fn cuts(&mut self, given: &Bound<'py, PyAny>) -> PyResult<Span> {
        let start = count(self.zone.cuts.len())?;
        for cut in given.cast::<PyTuple>()?.iter() {
            let (octets, arcount) = cut.extract()?;
            self.zone.cuts.push(Cut { octets, arcount });
        }
        Ok(Span { start, len: count(self.zone.cuts.len())? - start })
    }

    fn choice(&mut self, given: &Bound<'py, PyAny>, depth: usize) -> PyResult<u32> {
        if let Some(&known) = self.choices.get(&id(given)) {
            return Ok(known);
        }
        let py = self.py;
        let mut classes = HashMap::new();
        let mut alternatives = Vec::new();
        let steer = given.getattr(intern!(py, "steer"))?;
        let pools = steer.getattr(intern!(py, "pools"))?;
        for (alternative, pool) in given.getattr(intern!(py, "alternatives"))?.try_iter()?.zip(pools.try_iter()?) {
            let number = self.names.pool(self.zone.number, pool?.getattr(intern!(py, "name"))?.extract()?);
            alternatives.push(self.alternative(&alternative?, number, &mut classes, depth)?);
        }
        let choice = Choice {
            key: self.key(given.getattr(intern!(py, "key"))?.extract()?)?,
            steer: self.steer(&steer)?,
            alternatives,
            default: self.plan(&given.getattr(intern!(py, "default"))?, depth)?,
            nodata: self.plan(&given.getattr(intern!(py, "nodata"))?, depth)?,
            number: self.names.pool(self.zone.number, String::new()),
        };
        let at = count(self.zone.choices.len())?;
        self.zone.choices.push(choice);
        self.choices.insert(id(given), at);
        Ok(at)
    }

    fn alternative(
        &mut self,
        given: &Bound<'py, PyAny>,
        number: u32,
        classes: &mut HashMap<Vec<u8>, u32>,
        depth: usize,
    ) -> PyResult<Alternative> {
        let py = self.py;
        let (mut plans, mut records) = (Vec::new(), Vec::new());
        for plan in given.getattr(intern!(py, "plans"))?.try_iter()? {
            plans.push(self.plan(&plan?, depth)?);
        }
        for record in given.getattr(intern!(py, "records"))?.try_iter()? {
            let body = self.record(&record?)?;
            let data = self.zone.data(&self.zone.bodies[body as usize]).to_vec();
            let next = count(classes.len())?;
            records.push(Record { body, class: *classes.entry(data).or_insert(next) });
        }
        let whole = given.getattr(intern!(py, "whole"))?;
        let whole = if whole.is_none() { None } else { Some(self.plan(&whole, depth)?) };
        Ok(Alternative { plans, records, whole, number })
    }

    fn record(&mut self, given: &Bound<'py, PyAny>) -> PyResult<u32> {
        if let Some(&known) = self.records.get(&id(given)) {
            return Ok(known);
        }
        let body = self.body(given)?;
        let at = count(self.zone.bodies.len())?;
        self.zone.bodies.push(body);
        self.records.insert(id(given), at);
        Ok(at)
    }

    fn key(&mut self, key: String) -> PyResult<u32> {
        if let Some(&known) = self.keys.get(&key) {
            return Ok(known);
        }
        let at = count(self.zone.keys.len())?;
        self.zone.keys.push(key.clone());
        self.keys.insert(key, at);
        Ok(at)
    }

    fn steer(&mut self, given: &Bound<'py, PyAny>) -> PyResult<u32> {
        if let Some(&known) = self.steers.get(&id(given)) {
            return Ok(known);
        }
        let steer = copy_steer(given)?;
        let at = count(self.zone.steers.len())?;
        self.zone.steers.push(steer);
        self.steers.insert(id(given), at);
        Ok(at)
    }
}

fn copy_steer(given: &Bound<'_, PyAny>) -> PyResult<Steer> {
    let py = given.py();
    let mut pools = Vec::new();
    for pool in given.getattr(intern!(py, "pools"))?.try_iter()? {
        pools.push(copy_pool(&pool?)?);
    }
    let mut rules = Vec::new();
    for rule in given.getattr(intern!(py, "rules"))?.try_iter()? {
        let rule = rule?;
        rules.push(Rule {
            pools: rule.getattr(intern!(py, "pools"))?.extract()?,
            answers: rule.getattr(intern!(py, "answers"))?.extract()?,
            share: rule.getattr(intern!(py, "share"))?.extract()?,
            seed: rule.getattr(intern!(py, "seed"))?.extract()?,
        });
    }
    let steer = Steer {
        key: given.getattr(intern!(py, "key"))?.extract()?,
        pools,
        rules,
        when_all_down: match value_of(&given.getattr(intern!(py, "when_all_down"))?)?.as_str() {
            "default" => WhenAllDown::Default,
            "all" => WhenAllDown::All,
            "nodata" => WhenAllDown::Nodata,
            other => return Err(broken(format!("when_all_down is {other}"))),
        },
        ttl: given.getattr(intern!(py, "ttl"))?.extract()?,
        ttl_min: given.getattr(intern!(py, "ttl_min"))?.extract()?,
        base: copy_standing(&given.getattr(intern!(py, "base"))?)?,
    };
    let knows = |at: &u32| (*at as usize) < steer.pools.len();
    let is_whole = steer.rules.iter().all(|rule| !rule.pools.is_empty() && rule.pools.iter().all(knows))
        && steer.pools.iter().all(|pool| pool.fallbacks.iter().all(|(at, _)| knows(at)))
        && steer.fits(&steer.base);
    if is_whole { Ok(steer) } else { Err(broken(format!("{} leads to a pool that it does not have", steer.key))) }
}

fn copy_pool(given: &Bound<'_, PyAny>) -> PyResult<Pool> {
    let py = given.py();
    let mut members = Vec::new();
    for member in given.getattr(intern!(py, "members"))?.try_iter()? {
        let member = member?;
        members.push(Member {
            weight: member.getattr(intern!(py, "weight"))?.extract()?,
            seed: member.getattr(intern!(py, "seed"))?.extract()?,
        });
    }
    Ok(Pool {
        members,
        policy: match value_of(&given.getattr(intern!(py, "policy"))?)?.as_str() {
            "all" => Policy::All,
            "weighted" => Policy::Weighted,
            "hash" => Policy::Hash,
            other => return Err(broken(format!("policy is {other}"))),
        },
        answers: given.getattr(intern!(py, "answers"))?.extract()?,
        slow_start: given.getattr(intern!(py, "slow_start"))?.extract()?,
        fallbacks: given.getattr(intern!(py, "fallbacks"))?.extract()?,
        seed: given.getattr(intern!(py, "seed"))?.extract()?,
    })
}

/// The value of a member of an Enum of strings.
fn value_of(member: &Bound<'_, PyAny>) -> PyResult<String> {
    member.getattr(intern!(member.py(), "value"))?.extract()
}
