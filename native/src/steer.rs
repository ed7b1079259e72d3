//! Steering, apart from any rendering: `geodns/table/steer.py`, without what is only for people.

/// `Rule.share` of a rule that takes everybody.
pub const SHARE_ALL: u64 = 1 << 32;
/// `PoolStanding.ttl` of a pool whose state no check can change.
pub const TTL_UNBOUND: u32 = 0xFFFF_FFFF;

/// How a pool answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All members.
    All,
    /// Some, drawn by weight.
    Weighted,
    /// Some, by weight and the client's subnet.
    Hash,
}

/// What is answered when no pool can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllDown {
    /// The record's own values.
    Default,
    /// All members as if up.
    All,
    /// Nothing.
    Nodata,
}

/// A value of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Of its answers.
    pub weight: u32,
    /// Stands for the value where clients are spread by their subnets.
    pub seed: u64,
}

/// `answers` members at most answer (0: all that are up).
#[derive(Clone, Debug)]
pub struct Pool {
    /// By index.
    pub members: Vec<Member>,
    /// How they are picked.
    pub policy: Policy,
    /// At most.
    pub answers: u32,
    /// Seconds.
    pub slow_start: i64,
    /// (index of a pool, weight).
    pub fallbacks: Vec<(u32, u32)>,
    /// Stands for the pool where clients are spread over several.
    pub seed: u64,
}

/// Who is sent to which pools.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Indices, in order of preference.
    pub pools: Vec<u32>,
    /// So many pools answer together.
    pub answers: usize,
    /// Of SHARE_ALL subnets.
    pub share: u64,
    /// Of the share.
    pub seed: u64,
}

/// How a pool stands.
#[derive(Clone, Debug, Default)]
pub struct PoolStanding {
    /// The members that can be chosen, in order.
    pub up: Vec<u32>,
    /// Whether they are enough.
    pub is_up: bool,
    /// (member, Unix seconds since when it is up) of those in their slow start.
    pub ramps: Vec<(u32, i64)>,
    /// Seconds to the next possible change.
    pub ttl: u32,
}

/// How the pools of one Steer stand, by index.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// By index.
    pub pools: Vec<PoolStanding>,
}

/// Everything that does not depend on who asks and for what name.
#[derive(Clone, Debug)]
pub struct Steer {
    /// Owner and type, "www.example.com. A".
    pub key: String,
    /// By index.
    pub pools: Vec<Pool>,
    /// By index.
    pub rules: Vec<Rule>,
    /// What then.
    pub when_all_down: WhenAllDown,
    /// Seconds.
    pub ttl: u32,
    /// Seconds.
    pub ttl_min: u32,
    /// How they stand as long as nothing was checked.
    pub base: Standing,
}

impl Steer {
    /// True when a standing has a place for every pool and names only members that there are.
    pub fn fits(&self, standing: &Standing) -> bool {
        let fits = |(pool, found): (&Pool, &PoolStanding)| {
            let count = pool.members.len() as u32;
            found.up.iter().chain(found.ramps.iter().map(|(at, _)| at)).all(|&at| at < count)
        };
        standing.pools.len() == self.pools.len() && self.pools.iter().zip(&standing.pools).all(fits)
    }
}

/// A weight of 0 takes a member out where members are chosen by weight.
pub fn can_be_chosen(pool: &Pool, member: &Member) -> bool {
    member.weight > 0 || pool.policy == Policy::All
}
