//! Finding the plan for a name and a type: RFC 1034 section 4.3.2 with RFC 4592's closest encloser.

use crate::shape::{Below, Outcome, PlanAt};
use crate::snapshot::{NodeAt, Table, ancestors};
use crate::wire::{TYPE_ANY, TYPE_CNAME, TYPE_DS};

/// RFC 8482 section 4.2: HINFO with "RFC8482" as CPU and an empty OS says that ANY is not answered in full; for an
/// hour, so that asking again is not worth it.
pub const ANY_DATA: &[u8] = b"\xc0\x0c\0\x0d\0\x01\0\0\x0e\x10\0\x09\x07RFC8482\0";

/// What the zones say of a name and a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A plan of a zone's.
    Plan {
        /// In the table's zones.
        zone: u32,
        /// In that zone's plans.
        plan: PlanAt,
    },
    /// A DNAME of a zone's.
    Dname {
        /// In the table's zones.
        zone: u32,
        /// In that zone's dnames.
        dname: u32,
    },
    /// ANY_DATA.
    Any {
        /// In the table's zones.
        zone: u32,
    },
}

impl Found {
    /// The zone, in the table's zones.
    pub fn zone(self) -> u32 {
        match self {
            Found::Plan { zone, .. } | Found::Dname { zone, .. } | Found::Any { zone } => zone,
        }
    }
}

/// What the zones say of `key` (a lower-case wire name) and `qtype`; None: the name is in none of them.
pub fn find(table: &Table, key: &[u8], qtype: u16) -> Option<Found> {
    let at = match table.find(key) {
        // RFC 4035 section 3.1.4.1: DS is the parent's, even where the child is served as well.
        Some(at) if qtype == TYPE_DS => table.parent_side(key).unwrap_or(at),
        Some(at) => at,
        None => {
            let at = closest_encloser(table, key)?;
            let zone = table.zone(at);
            match zone.nodes[at.node as usize].below {
                Below::Nothing => return Some(Found::Plan { zone: at.zone, plan: zone.nxdomain }),
                Below::Plan(plan) => return Some(Found::Plan { zone: at.zone, plan }),
                Below::Dname(dname) => return Some(Found::Dname { zone: at.zone, dname }),
                Below::Node(node) => NodeAt { node, ..at }, // the wildcard, standing in for the name
            }
        }
    };
    Some(at_node(table, at, qtype))
}

/// What a node says of a type.
fn at_node(table: &Table, at: NodeAt, qtype: u16) -> Found {
    let zone = table.zone(at);
    let node = &zone.nodes[at.node as usize];
    let typed = node.plans.of(&zone.typed);
    let of_type = |wanted: u16| typed.iter().find(|(rtype, _)| *rtype == wanted).map(|(_, plan)| *plan);
    let found = |plan: PlanAt| Found::Plan { zone: at.zone, plan };
    if let Some(plan) = of_type(qtype) {
        return found(plan);
    }
    let is_any = qtype == TYPE_ANY && !typed.is_empty();
    if is_any && zone.plans[node.other as usize].outcome != Outcome::Referral {
        return of_type(TYPE_CNAME).map_or(Found::Any { zone: at.zone }, found);
    }
    found(node.other)
}

/// The node of the longest existing ancestor of a `key` that has none itself (RFC 4592 section 3.3.1).
fn closest_encloser(table: &Table, key: &[u8]) -> Option<NodeAt> {
    ancestors(key).find_map(|above| table.find(above))
}
