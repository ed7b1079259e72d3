//! Choosing: where is the client, who answers it, and what was rendered for that.
//!
//!     client --partition--> route --decide--> members --> Plan, or bodies to be put together

use std::net::IpAddr;

use crate::decide::{Asked, Decision, Scratch, Verdict, decide, drawn, told_ttl};
use crate::left::Left;
use crate::partition::{Partition, Step, asker_subnet, subnet_of};
use crate::shape::{Choice, PlanAt, Record};
use crate::snapshot::Snapshot;
use crate::steer::{Policy, SHARE_ALL, Standing, Steer, TTL_UNBOUND, WhenAllDown};
use crate::wire::Family;

/// Where a query comes from.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The address that asked.
    pub asker: IpAddr,
    /// What EDNS Client Subnet says, with SOURCE > 0.
    pub subnet: Option<(Family, u128)>,
}

/// How an answer goes on.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// With a plan, or with `Scratch.records` put together.
    pub next: Next,
    /// The ECS scope in bits.
    pub scope: u32,
    /// The most that the TTL may be.
    pub ttl: u32,
    /// The draw that was used last.
    pub draw: u32,
}

/// What comes next in an answer.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// A plan of the same zone.
    Plan(PlanAt),
    /// `Scratch.records`.
    Records,
}

/// What this client gets from a choice of a zone, and the ECS scope within which everybody's answer is one of the same.
///
/// The address in ECS decides if it is public or has a rule, else the address that asked.
pub fn choose(
    snapshot: &Snapshot,
    zone: u32,
    choice: &Choice,
    client: Client,
    draw: u32,
    now: u64,
    scratch: &mut Scratch,
    left: &mut Left,
) -> Chosen {
    let partition = snapshot.partition(zone, choice);
    let (outcome, scope) = match client.subnet {
        Some((family, value)) => partition.locate(family, value, client.asker),
        None => (partition.outcome_of(client.asker), 0),
    };
    let (steer, standing) = snapshot.steer(zone, choice);
    let route = partition.route(outcome);
    if let Some((next, ttl)) = usual(choice, partition, route, steer, standing, draw, scratch, left) {
        return Chosen { next, scope, ttl, draw };
    }
    let (subnet, bits) = match client.subnet {
        Some((family, value)) => subnet_of(family, value),
        None => (asker_subnet(client.asker), 0),
    };
    let asked = Asked { subnet, draw, now: now as i64 };
    let decision = decide(steer, standing, partition, route, asked, scratch);
    if scratch.members.is_empty() {
        left.add_pool(choice.number);
    }
    scratch.members.iter().for_each(|&(pool, _)| left.add_pool(choice.alternatives[pool as usize].number));
    let scope = if decision.is_hashed { scope.max(bits) } else { scope };
    Chosen { next: rendered(choice, steer, &decision, scratch), scope, ttl: decision.ttl, draw: decision.draw }
}

/// How the answer goes on, and the most that its TTL may be, where the first pool answers and nothing is hashed: what
/// `decide` comes to as well, only sooner. None: let it decide.
fn usual(
    choice: &Choice,
    partition: &Partition,
    route: &[Step],
    steer: &Steer,
    standing: &Standing,
    draw: u32,
    scratch: &mut Scratch,
    left: &mut Left,
) -> Option<(Next, u32)> {
    let Some(step) = route.first() else {
        left.add_pool(choice.number);
        return Some((Next::Plan(choice.default), TTL_UNBOUND));
    };
    let rule = &steer.rules[step.rule as usize];
    if rule.share != SHARE_ALL || rule.answers != 1 {
        return None;
    }
    let position = partition.order(step).first().copied().unwrap_or(0);
    let at = rule.pools[position as usize] as usize;
    let found = &standing.pools[at];
    if !found.is_up || !found.ramps.is_empty() {
        return None;
    }
    let (up, alternative) = (found.up.as_slice(), &choice.alternatives[at]);
    let plans = alternative.plans.as_slice();
    let ttl = told_ttl(steer, found.ttl);
    if let [only] = up {
        left.add_pool(alternative.number);
        return Some((Next::Plan(plans[*only as usize]), ttl));
    }
    let first = *up.first()? as usize;
    let pool = &steer.pools[at];
    if pool.policy == Policy::All && pool.answers == 0 {
        left.add_pool(alternative.number);
        if let Some(whole) = alternative.whole.filter(|_| up.len() == plans.len()) {
            return Some((Next::Plan(whole), ttl));
        }
        let records = up.iter().map(|&member| alternative.records[member as usize]);
        return Some((together(plans[first], records, &mut scratch.records), ttl));
    }
    if pool.policy == Policy::Weighted && pool.answers == 1 {
        left.add_pool(alternative.number);
        let weights = up.iter().map(|&member| pool.members[member as usize].weight);
        return Some((Next::Plan(plans[up[drawn(weights, draw)] as usize]), ttl));
    }
    None
}

/// What was rendered for a decision: one plan, or the records that come together.
fn rendered(choice: &Choice, steer: &Steer, decision: &Decision, scratch: &mut Scratch) -> Next {
    let members = scratch.members.as_slice();
    let Some(&(pool, first)) = members.first() else {
        let is_nodata = decision.verdict == Verdict::AllDown && steer.when_all_down == WhenAllDown::Nodata;
        return Next::Plan(if is_nodata { choice.nodata } else { choice.default });
    };
    let alternative = &choice.alternatives[pool as usize];
    let plans = alternative.plans.as_slice();
    if members.len() == 1 {
        return Next::Plan(plans[first as usize]);
    }
    if let Some(whole) = alternative.whole
        && members.iter().copied().eq((0..plans.len() as u32).map(|at| (pool, at)))
    {
        return Next::Plan(whole);
    }
    let records = members.iter().map(|&(at, one)| choice.alternatives[at as usize].records[one as usize]);
    together(plans[first as usize], records, &mut scratch.records)
}

/// These records, equal ones once; `first` is the plan of the first of them.
fn together(first: PlanAt, records: impl Iterator<Item = Record>, kept: &mut Vec<Record>) -> Next {
    kept.clear();
    for record in records {
        match kept.iter_mut().find(|other| other.class == record.class) {
            Some(other) => *other = record,
            None => kept.push(record),
        }
    }
    if kept.len() > 1 { Next::Records } else { Next::Plan(first) }
}
