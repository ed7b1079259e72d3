//! Who answers: which rule takes the client, which of its pools can answer now, and with which members.
//!
//!     route (partition) --shares--> rule --candidates, fallbacks--> pools --policy--> members
//!
//! It knows indices only, neither names nor packets nor records. The clock and the dice come in as arguments.

use crate::hashing::{is_in_share, is_kept_back, score};
use crate::partition::{Partition, Step};
use crate::shape::{Record, Span};
use crate::steer::{Policy, Pool, Rule, SHARE_ALL, Standing, Steer, TTL_UNBOUND, WhenAllDown, can_be_chosen};

/// A draw has this many random bits.
const DRAW_BITS: u32 = 32;
/// Odd, near 2**32 / golden ratio: spreads the draw for a second choice (Knuth, 6.4).
const MULTIPLIER: u32 = 0x9E37_79B1;

/// Pools answer; no rule takes the client; or no pool can, and `when_all_down` says what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `Scratch.members` do.
    Pools,
    /// The record's own values.
    NoRule,
    /// What `when_all_down` says.
    AllDown,
}

/// Who answers one client; the members are in the scratch.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// In one word.
    pub verdict: Verdict,
    /// The most that the answer may say, in seconds.
    pub ttl: u32,
    /// Whether the client's subnet had a say.
    pub is_hashed: bool,
    /// The last one used.
    pub draw: u32,
}

/// The client and the moment that a decision is for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What stands for the client where clients are spread.
    pub subnet: u64,
    /// Random bits.
    pub draw: u32,
    /// Unix seconds.
    pub now: i64,
}

/// Room for what a decision writes down, kept from one to the next so that none has to be made.
#[derive(Default)]
pub struct Scratch {
    /// (pool, member), in the order in which they stand in the answer.
    pub members: Vec<(u32, u32)>,
    /// Those that are put together; for `choose`.
    pub records: Vec<Record>,
    first: Vec<u32>,
    found: Vec<(u32, Span)>,
    open: Vec<u32>,
    level: Vec<u32>,
    following: Vec<u32>,
    is_seen: Vec<bool>,
    scores: Vec<(f64, u32)>,
    rest: Vec<u32>,
}

/// Who answers a client with this route, when the pools stand as they do.
pub fn decide(
    steer: &Steer,
    standing: &Standing,
    partition: &Partition,
    route: &[Step],
    asked: Asked,
    scratch: &mut Scratch,
) -> Decision {
    scratch.members.clear();
    let mut is_hashed = false;
    for step in route {
        let rule = &steer.rules[step.rule as usize];
        if rule.share < SHARE_ALL {
            is_hashed = true;
            if !is_in_share(asked.subnet, rule.seed, rule.share) {
                continue;
            }
        }
        in_order(rule, partition.order(step), &mut scratch.first);
        let search =
            Search { steer, standing, asked, is_hashed, is_patient: true, is_holding_back: false, ttl: TTL_UNBOUND };
        return by_rule(search, rule, scratch);
    }
    Decision { verdict: Verdict::NoRule, ttl: TTL_UNBOUND, is_hashed, draw: asked.draw }
}

fn by_rule(mut search: Search<'_>, rule: &Rule, scratch: &mut Scratch) -> Decision {
    search.pools(rule.answers, scratch);
    if scratch.found.is_empty() && search.is_holding_back {
        // Better all clients on a value that has just come back than none on it.
        search.is_patient = false;
        search.pools(rule.answers, scratch);
    }
    let steer = search.steer;
    let mut verdict = Verdict::Pools;
    if scratch.found.is_empty() {
        verdict = Verdict::AllDown;
        if steer.when_all_down == WhenAllDown::All {
            everybody(steer, rule.answers, scratch);
        }
    }
    let mut draw = search.asked.draw;
    for at in 0..scratch.found.len() {
        let (pool, open) = scratch.found[at];
        by_policy(steer, pool, open, search.asked.subnet, &mut draw, &mut search.is_hashed, scratch);
    }
    Decision { verdict, ttl: told_ttl(steer, search.ttl), is_hashed: search.is_hashed, draw }
}

/// The rule's pools, the nearest of them first where that is known.
fn in_order(rule: &Rule, order: &[u32], first: &mut Vec<u32>) {
    first.clear();
    first.extend(order.iter().map(|&position| rule.pools[position as usize]));
    let nearest = first.len();
    for &at in &rule.pools {
        if !first[..nearest].contains(&at) {
            first.push(at);
        }
    }
}

/// All members of the first pools, as if they were up.
fn everybody(steer: &Steer, wanted: usize, scratch: &mut Scratch) {
    for &at in scratch.first.iter().take(wanted) {
        let pool = &steer.pools[at as usize];
        let start = scratch.open.len() as u32;
        let chosen = pool.members.iter().enumerate().filter(|(_, member)| can_be_chosen(pool, member));
        scratch.open.extend(chosen.map(|(member, _)| member as u32));
        scratch.found.push((at, Span { start, len: scratch.open.len() as u32 - start }));
    }
}

/// Looking for pools that can answer one client.
struct Search<'a> {
    steer: &'a Steer,
    standing: &'a Standing,
    asked: Asked,
    is_hashed: bool,
    /// Whether a slow start keeps clients back.
    is_patient: bool,
    /// Whether one did.
    is_holding_back: bool,
    /// The least of the pools that were looked at.
    ttl: u32,
}

impl Search<'_> {
    /// The first `wanted` of `scratch.first` that can answer, or else the first one of their fallbacks, the nearest
    /// level first.
    fn pools(&mut self, wanted: usize, scratch: &mut Scratch) {
        scratch.found.clear();
        scratch.open.clear();
        for &at in &scratch.first {
            if let Some(open) = self.look(at, &mut scratch.open) {
                scratch.found.push((at, open));
                if scratch.found.len() == wanted {
                    break;
                }
            }
        }
        if scratch.found.is_empty() {
            self.fallbacks(scratch);
        }
    }

    fn fallbacks(&mut self, scratch: &mut Scratch) {
        scratch.is_seen.clear();
        scratch.is_seen.resize(self.steer.pools.len(), false);
        scratch.level.clear();
        for &at in &scratch.first {
            scratch.is_seen[at as usize] = true;
            scratch.level.push(at);
        }
        while !scratch.level.is_empty() {
            scratch.following.clear();
            for &parent in &scratch.level {
                self.fallbacks_of(parent, &mut scratch.scores);
                for &(_, position) in &scratch.scores {
                    let at = self.steer.pools[parent as usize].fallbacks[position as usize].0;
                    if std::mem::replace(&mut scratch.is_seen[at as usize], true) {
                        continue;
                    }
                    scratch.following.push(at);
                    if let Some(open) = self.look(at, &mut scratch.open) {
                        scratch.found.push((at, open));
                        return;
                    }
                }
            }
            std::mem::swap(&mut scratch.level, &mut scratch.following);
        }
    }

    /// The positions of a pool's fallbacks, the one that this client is sent to first.
    fn fallbacks_of(&mut self, at: u32, scores: &mut Vec<(f64, u32)>) {
        let fallbacks = &self.steer.pools[at as usize].fallbacks;
        if fallbacks.len() < 2 {
            scores.clear();
            scores.extend((0..fallbacks.len() as u32).map(|position| (0.0, position)));
            return;
        }
        self.is_hashed = true;
        let seeds = fallbacks.iter().map(|&(pool, weight)| (self.steer.pools[pool as usize].seed, weight));
        by_score(self.asked.subnet, seeds, scores);
    }

    /// The members of a pool that this client may have: up, and not kept back by their slow start. None where the pool
    /// can not answer.
    fn look(&mut self, at: u32, open: &mut Vec<u32>) -> Option<Span> {
        let standing = &self.standing.pools[at as usize];
        self.ttl = self.ttl.min(standing.ttl);
        if !standing.is_up {
            return None;
        }
        let start = open.len();
        open.extend_from_slice(&standing.up);
        let pool = &self.steer.pools[at as usize];
        for &(member, since) in &standing.ramps {
            if self.is_kept_back(pool, member, since, &standing.up)
                && self.is_patient
                && let Some(found) = open[start..].iter().position(|&each| each == member)
            {
                open.remove(start + found);
            }
        }
        let len = open.len() - start;
        (len > 0).then_some(Span { start: start as u32, len: len as u32 })
    }

    fn is_kept_back(&mut self, pool: &Pool, member: u32, since: i64, up: &[u32]) -> bool {
        let elapsed = self.asked.now.saturating_sub(since).max(0); // a clock may have been set back
        if elapsed >= pool.slow_start || !up.contains(&member) {
            return false;
        }
        self.is_hashed = true;
        let seed = pool.members[member as usize].seed;
        let is_kept_back = is_kept_back(self.asked.subnet, seed, elapsed, pool.slow_start);
        self.is_holding_back |= is_kept_back;
        is_kept_back
    }
}

/// Add the members that answer, of those that this client may have.
fn by_policy(
    steer: &Steer,
    at: u32,
    open: Span,
    subnet: u64,
    draw: &mut u32,
    is_hashed: &mut bool,
    scratch: &mut Scratch,
) {
    let pool = &steer.pools[at as usize];
    let open = open.of(&scratch.open);
    let wanted = if pool.answers == 0 { open.len() } else { pool.answers as usize };
    if pool.policy == Policy::Hash && open.len() > 1 {
        *is_hashed = true;
        let seeds = open.iter().map(|&member| &pool.members[member as usize]).map(|each| (each.seed, each.weight));
        by_score(subnet, seeds, &mut scratch.scores);
        scratch.members.extend(scratch.scores.iter().take(wanted).map(|&(_, position)| (at, open[position as usize])));
        return;
    }
    if wanted >= open.len() {
        scratch.members.extend(open.iter().map(|&member| (at, member)));
        return;
    }
    scratch.rest.clear();
    scratch.rest.extend_from_slice(open);
    for count in 0..wanted {
        if count > 0 {
            *draw = next_draw(*draw);
        }
        let weights = scratch.rest.iter().map(|&member| match pool.policy {
            Policy::Weighted => pool.members[member as usize].weight,
            _ => 1,
        });
        let picked = drawn(weights, *draw);
        scratch.members.push((at, scratch.rest.remove(picked)));
    }
}

/// The positions of the candidates, (seed, weight) each, the one that this client is sent to first; ties as they came.
fn by_score(subnet: u64, candidates: impl Iterator<Item = (u64, u32)>, scores: &mut Vec<(f64, u32)>) {
    scores.clear();
    scores.extend((0..).zip(candidates).map(|(at, (seed, weight))| (score(subnet, seed, weight), at)));
    scores.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
}

/// The position of one of the candidates (at least one), each as often as its weight says.
pub fn drawn(weights: impl Iterator<Item = u32> + Clone, draw: u32) -> usize {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut point = (u128::from(draw) * u128::from(total)) >> DRAW_BITS;
    let mut last = 0;
    for (at, weight) in weights.enumerate() {
        if point < u128::from(weight) {
            return at;
        }
        point -= u128::from(weight);
        last = at;
    }
    last
}

/// The most that an answer may say when in `ttl` seconds it can be another; TTL_UNBOUND: what it says.
pub fn told_ttl(steer: &Steer, ttl: u32) -> u32 {
    if ttl >= steer.ttl { TTL_UNBOUND } else { ttl.max(steer.ttl_min) }
}

/// The draw for what is chosen next in the same answer.
pub fn next_draw(draw: u32) -> u32 {
    draw.wrapping_mul(MULTIPLIER).wrapping_add(1)
}
