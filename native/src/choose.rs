//! Choosing: where is the client, who answers it, and what was rendered for that.
//!
//!     client --partition--> route --decide--> members --> Plan, or bodies to be put together

use std::net::IpAddr;

use crate::bound::Shortcut;
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

/// How an answer goes on where nothing has to be decided: next, and the most that its TTL may be.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// With a plan, or with the records put together.
    pub next: Next,
    /// The most that the TTL may be.
    pub ttl: u32,
    /// What it is counted as.
    pub pool: u32,
}

/// What comes next in an answer.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// A plan of the same zone.
    Plan(PlanAt),
    /// `Scratch.records`.
    Records,
}

/// What this client gets from a choice (by number) of a zone, and the ECS scope within which everybody's answer is one of the same.
///
/// The address in ECS decides if it is public or has a rule, else the address that asked.
#[expect(clippy::too_many_arguments, reason = "as geodns.engine.choose has them, which is the definition")]
pub fn choose(
    snapshot: &Snapshot,
    zone: u32,
    choice_at: u32,
    client: Client,
    draw: u32,
    now: u64,
    scratch: &mut Scratch,
    left: &mut Left,
) -> Chosen {
    let bound = &snapshot.bound[zone as usize];
    let partition = bound.partition(choice_at);
    let (outcome, scope) = match client.subnet {
        Some((family, value)) => partition.locate(family, value, client.asker),
        None => (partition.outcome_of(client.asker), 0),
    };
    if let Some(Shortcut { plan, ttl, pool }) = bound.shortcut(choice_at, outcome) {
        left.add_pool(pool);
        return Chosen { next: Next::Plan(plan), scope, ttl, draw };
    }
    let own = &snapshot.table.zones[zone as usize];
    let choice = &own.choices[choice_at as usize];
    let (steer, standing) = bound.steer(own, choice);
    let route = partition.route(outcome);
    if let Some(found) = usual(choice, partition, route, steer, standing, Some(draw), &mut scratch.records) {
        left.add_pool(found.pool);
        let Usual { next, ttl, .. } = found;
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
/// `decide` comes to as well, only sooner. None: let it decide. Without a draw also where there is something to draw.
pub fn usual(
    choice: &Choice,
    partition: &Partition,
    route: &[Step],
    steer: &Steer,
    standing: &Standing,
    draw: Option<u32>,
    kept: &mut Vec<Record>,
) -> Option<Usual> {
    let Some(step) = route.first() else {
        return Some(Usual { next: Next::Plan(choice.default), ttl: TTL_UNBOUND, pool: choice.number });
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
    let found = |next: Next| Usual { next, ttl, pool: alternative.number };
    if let [only] = up {
        return Some(found(Next::Plan(plans[*only as usize])));
    }
    let first = *up.first()? as usize;
    let pool = &steer.pools[at];
    if pool.policy == Policy::All && pool.answers == 0 {
        if let Some(whole) = alternative.whole.filter(|_| up.len() == plans.len()) {
            return Some(found(Next::Plan(whole)));
        }
        let records = up.iter().map(|&member| alternative.records[member as usize]);
        return Some(found(together(plans[first], records, kept)));
    }
    if pool.policy == Policy::Weighted && pool.answers == 1 {
        let weights = up.iter().map(|&member| pool.members[member as usize].weight);
        return Some(found(Next::Plan(plans[up[drawn(weights, draw?)] as usize])));
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
