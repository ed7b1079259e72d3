//! What a query leaves behind besides its answer: what it asked, which zone said what, and which pools answered.
//!
//! Zones and pools are numbers, which `copy` gives to their names, and which a name keeps whatever is published.

/// Pools told of one answer: a rule has seldom more than two answer together.
pub const POOLS_MAX: usize = 4;
/// The number of no zone.
pub const NO_ZONE: u32 = 0;
/// Of the flags of a plan: the rcode, with the bits that stand in an OPT record (RFC 6891 section 6.1.3).
const RCODE: u16 = 0x03FF;

/// What one query left behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Left {
    /// The number of the zone that the name asked for is in; NO_ZONE for a name outside of all.
    pub zone: u32,
    /// As it was asked.
    pub qtype: u16,
    /// As it was answered.
    pub rcode: u16,
    pools: [u32; POOLS_MAX],
    pool_count: u32,
}

impl Left {
    /// Forget the query before.
    pub fn clear(&mut self) {
        (self.zone, self.qtype, self.rcode, self.pool_count) = (NO_ZONE, 0, 0, 0);
    }

    /// The rcode in what a plan or a refusal says.
    pub fn set_rcode(&mut self, flags: u16) {
        self.rcode = flags & RCODE;
    }

    /// A pool has part in the answer.
    #[inline]
    pub fn add_pool(&mut self, number: u32) {
        if self.pool_count == 0 {
            (self.pools[0], self.pool_count) = (number, 1);
        } else {
            self.add_another(number);
        }
    }

    fn add_another(&mut self, number: u32) {
        if self.pools().contains(&number) {
            return;
        }
        if let Some(place) = self.pools.get_mut(self.pool_count as usize) {
            *place = number;
            self.pool_count += 1;
        }
    }

    /// The numbers of the pools that answered, each once, POOLS_MAX of them at most.
    pub fn pools(&self) -> &[u32] {
        &self.pools[..self.pool_count as usize]
    }
}
