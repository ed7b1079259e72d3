//! Everything an answer depends on besides the packet: published by one swap, then never changed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::bound::Bound;
use crate::rrl::Limiter;
use crate::shape::{Outcome, Span, Zone};

/// Octets; DNS flag day 2020: an IPv6 packet of 1280 less its headers.
pub const UDP_SIZE_MAX_DEFAULT: u16 = 1232;
/// Units of 100 ms (RFC 7828 section 3.1): 10 s, the idle limit of our connections.
pub const TCP_KEEPALIVE_DEFAULT: u16 = 100;
/// RFC 9018 section 4.4: SipHash-2-4 has a key of 128 bits.
pub const SECRET_OCTETS: usize = 16;

/// Where a name's node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// In `Table.zones`.
    pub zone: u32,
    /// In that zone's nodes.
    pub node: u32,
}

/// With the name's place, so that name and node come from memory at the same time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    at: NodeAt,
    /// In the zone's octets.
    name: Span,
}

/// All the zones, as one map.
///
/// Names come from the operator's files and nobody else's, and each process has a hash of its own: nobody can choose
/// names that meet in it.
#[derive(Debug, Default)]
pub struct Table {
    /// In any order; the last ones may be overlays of others.
    pub zones: Vec<Arc<Zone>>,
    /// Apexes (lower-case wire form) that have a file but no good zone.
    pub failed: Vec<Vec<u8>>,
    names: HashTable<Entry>,
    hasher: RandomState,
    parent_side: HashMap<Vec<u8>, NodeAt>,
}

impl Table {
    /// All zones as one map; a zone inside another hides what the outer one has at and below its apex. The nodes of an
    /// overlay stand before those of all zones.
    pub fn link(mut zones: Vec<Arc<Zone>>, overlays: Vec<Arc<Zone>>, failed: Vec<Vec<u8>>) -> Table {
        // A parent's apex is a suffix of its child's, so by length the parents come first.
        zones.sort_by_key(|zone| zone.apex.len());
        let names = zones.iter().map(|zone| zone.names).sum();
        let mut table = Table { failed, names: HashTable::with_capacity(names), ..Table::default() };
        let apexes: HashSet<&[u8]> = zones.iter().map(|zone| zone.apex.as_slice()).collect();
        for zone in &zones {
            if ancestors(&zone.apex).any(|above| apexes.contains(above)) {
                table.make_room(&zones, &zone.apex);
            }
            table.add(&zones, table.zones.len() as u32);
            table.zones.push(zone.clone());
        }
        for overlay in overlays {
            table.zones.push(overlay);
            let zones = table.zones.clone();
            table.add(&zones, zones.len() as u32 - 1);
        }
        table
    }

    /// Take away what a zone with this apex hides; the node of a delegation to it goes on to answer for DS.
    fn make_room(&mut self, zones: &[Arc<Zone>], apex: &[u8]) {
        let Some(cut) = self.find(apex) else { return };
        let zone = &zones[cut.zone as usize];
        let other = zone.nodes[cut.node as usize].other;
        if zone.plans[other as usize].outcome == Outcome::Referral {
            self.parent_side.insert(apex.to_vec(), cut);
        } else {
            // below a cut the parent has nothing; below another name it may
            self.names.retain(|entry| !is_under(zones[entry.at.zone as usize].name(entry.at.node), apex));
        }
    }

    fn add(&mut self, zones: &[Arc<Zone>], zone: u32) {
        let own = &zones[zone as usize];
        for node in 0..own.names as u32 {
            let at = NodeAt { zone, node };
            let span = own.nodes[node as usize].name;
            let name = own.name(node);
            let hash = hash_of(&self.hasher, name);
            let is_same = |entry: &Entry| entry.name.of(&zones[entry.at.zone as usize].octets) == name;
            match self.names.entry(hash, |entry| entry.hash == hash && is_same(entry), |entry| entry.hash) {
                hashbrown::hash_table::Entry::Occupied(mut found) => {
                    (found.get_mut().at, found.get_mut().name) = (at, span)
                }
                hashbrown::hash_table::Entry::Vacant(place) => {
                    place.insert(Entry { hash, at, name: span });
                }
            }
        }
    }

    /// Of a lower-case wire name.
    pub fn hash(&self, name: &[u8]) -> u64 {
        hash_of(&self.hasher, name)
    }

    /// The node of a name with this hash, most probably, for the name is not looked at; and where in its zone's octets
    /// the name stands.
    pub fn probably(&self, hash: u64) -> Option<(NodeAt, u32)> {
        self.names.find(hash, |entry| entry.hash == hash).map(|entry| (entry.at, entry.name.start))
    }

    /// The node of a lower-case wire name.
    pub fn find(&self, name: &[u8]) -> Option<NodeAt> {
        let hash = hash_of(&self.hasher, name);
        let is_same = |entry: &Entry| entry.hash == hash && entry.name.of(&self.zone(entry.at).octets) == name;
        self.names.find(hash, is_same).map(|entry| entry.at)
    }

    /// The node of a delegation whose child zone is served as well.
    pub fn parent_side(&self, name: &[u8]) -> Option<NodeAt> {
        if self.parent_side.is_empty() {
            return None;
        }
        self.parent_side.get(name).copied()
    }

    /// The zone that a node is in.
    pub fn zone(&self, at: NodeAt) -> &Zone {
        &self.zones[at.zone as usize]
    }
}

fn hash_of(hasher: &RandomState, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(name);
    state.finish()
}

/// The names above one, the nearest first, the root last.
pub fn ancestors(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        if length == 0 {
            return None;
        }
        rest = rest.get(1 + length..)?;
        Some(rest)
    })
}

/// True when the lower-case wire name `key` is `ancestor` or below it.
pub fn is_under(key: &[u8], ancestor: &[u8]) -> bool {
    key == ancestor || (key.len() > ancestor.len() && ancestors(key).any(|above| above == ancestor))
}

/// The table, the geography of its choices, what is up, and the settings that show in answers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The zones.
    pub table: Arc<Table>,
    /// One for each of the table's zones.
    pub bound: Vec<Bound>,
    /// RFC 5001: what NSID says; empty: nothing.
    pub server_id: Vec<u8>,
    /// Octets of an answer over UDP.
    pub udp_size_max: u16,
    /// The first signs, all of them verify.
    pub cookie_secrets: Vec<[u8; SECRET_OCTETS]>,
    /// Units of 100 ms.
    pub tcp_keepalive: u16,
    /// Of responses over UDP.
    pub limiter: Option<Limiter>,
}

impl Default for Snapshot {
    /// Without zones: everything is refused.
    fn default() -> Snapshot {
        Snapshot {
            table: Arc::default(),
            bound: Vec::new(),
            server_id: Vec::new(),
            udp_size_max: UDP_SIZE_MAX_DEFAULT,
            cookie_secrets: Vec::new(),
            tcp_keepalive: TCP_KEEPALIVE_DEFAULT,
            limiter: None,
        }
    }
}
