//! Looking ahead: what the answers of a batch will read is asked of memory before the first of them is made.
//!
//!     packets with ECS --peek--> hashes --> nodes --> plans --> the runs of a partition
//!
//! A steered answer follows some ten references, each known only when what the one before it leads to has come, and
//! between two batches the system has used the processor's cache for itself. Here each step is made for all the queries
//! before the next one is made for any, so that they wait for memory together. It is a guess that decides nothing: an
//! answer is the same without it. What is not steered has fewer references, and gains less than looking ahead costs.

use crate::batch::{BATCH, prefetch};
use crate::partition::Partition;
use crate::shape::{NO_CHOICE, Zone};
use crate::snapshot::{NodeAt, Snapshot};
use crate::wire::{KeyRoom, peek};

/// Of fewer queries, each waits for its own memory as long as for that of all.
const FEWEST: usize = 4;

/// How far one query's way is known.
#[derive(Clone, Copy)]
struct Way<'a> {
    hash: u64,
    qtype: u16,
    subnet: u32,
    at: NodeAt,
    zone: &'a Zone,
    plan: u32,
}

/// Have memory bring what answering these packets, BATCH at most, will read.
pub fn look_ahead<'a>(snapshot: &Snapshot, count: usize, packet: impl Fn(usize) -> &'a [u8]) {
    let table = &snapshot.table;
    let Some(any) = table.zones.first() else { return };
    if count < FEWEST || !(0..count).any(|at| peek(packet(at)).is_some()) {
        return;
    }
    let mut room = KeyRoom::default();
    let nowhere = NodeAt { zone: 0, node: 0 };
    let mut ways = [Way { hash: 0, qtype: 0, subnet: 0, at: nowhere, zone: any, plan: 0 }; BATCH];
    let mut known = 0;
    for at in 0..count.min(BATCH) {
        if let Some(peek) = peek(packet(at)) {
            let way = &mut ways[known];
            (way.hash, way.qtype, way.subnet) = (table.hash(room.lower(peek.name)), peek.qtype, peek.subnet);
            known += 1;
        }
    }
    let mut found = 0;
    for at in 0..known {
        if let Some((node, name)) = table.probably(ways[at].hash) {
            let zone = table.zone(node);
            prefetch(&zone.nodes, node.node as usize);
            prefetch(&zone.octets, name as usize);
            ways[found] = Way { at: node, zone, ..ways[at] };
            found += 1;
        }
    }
    let ways = &mut ways[..found];
    for way in &mut *ways {
        let node = &way.zone.nodes[way.at.node as usize];
        let typed = node.plans.of(&way.zone.typed);
        way.plan = typed.iter().find(|(rtype, _)| *rtype == way.qtype).map_or(node.other, |(_, plan)| *plan);
        prefetch(&way.zone.plans, way.plan as usize);
    }
    let mut runs: [Option<(&Partition, usize)>; BATCH] = [None; BATCH];
    for (way, runs) in ways.iter().zip(&mut runs) {
        let plan = &way.zone.plans[way.plan as usize];
        prefetch(&way.zone.octets, plan.body.data.start as usize);
        if plan.choice != NO_CHOICE {
            let partition = snapshot.bound[way.at.zone as usize].partition(plan.choice);
            *runs = Some((partition, partition.first(way.subnet)));
        }
    }
    for (partition, first) in runs.iter().flatten() {
        partition.prefetch(*first);
    }
}
