//! A zone's choices bound to what a snapshot knows beside the zone: where addresses are, and what is up.
//!
//!     choice + partition + standing --usual, for each outcome--> shortcut: the plan, where only the place decides
//!
//! What `choose` would come to for each outcome of a partition is worked out when a snapshot is made, so that most
//! queries read one number here instead of following rules, pools and members through memory.

use std::sync::Arc;

use crate::choose::{Next, Usual, usual};
use crate::partition::{OUTCOME_DEFAULT, Partition};
use crate::shape::{Choice, PlanAt, Zone};
use crate::steer::{Standing, Steer};

/// Shortcuts of one zone: 48 MiB of them, which is ten thousand steered records with 400 routes each. What comes after
/// is decided query by query.
const SHORTCUTS_MAX: usize = 1 << 22;
/// `Shortcut.plan` where more than the place decides.
const NO_PLAN: PlanAt = PlanAt::MAX;
/// `Place.first` of a choice without shortcuts.
const NO_SHORTCUTS: u32 = u32::MAX;

/// What one outcome leads to.
#[derive(Clone, Copy, Debug)]
pub struct Shortcut {
    /// Of the zone's.
    pub plan: PlanAt,
    /// The most that the TTL may be.
    pub ttl: u32,
    /// What it is counted as.
    pub pool: u32,
}

const NO_SHORTCUT: Shortcut = Shortcut { plan: NO_PLAN, ttl: 0, pool: 0 };

/// What belongs to one choice.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// In `Bound.partitions`.
    partition: u32,
    /// In `Bound.shortcuts`: the one of OUTCOME_DEFAULT, behind which are those of the routes.
    first: u32,
}

/// One for each of `Zone.keys`.
pub type Partitions = Arc<Vec<Arc<Partition>>>;
/// One for each of `Zone.steers`; None: `Steer.base`.
pub type Standings = Arc<Vec<Option<Arc<Standing>>>>;

/// One for each zone of a table.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    partitions: Partitions,
    standings: Standings,
    /// One for each of `Zone.choices`.
    places: Arc<Vec<Place>>,
    shortcuts: Arc<Vec<Shortcut>>,
}

impl Bound {
    /// The choices of this zone with these partitions and standings.
    pub fn new(zone: &Zone, partitions: Partitions, standings: Standings) -> Bound {
        let mut places = Vec::with_capacity(zone.choices.len());
        let mut count = 0;
        for choice in &zone.choices {
            let more = partitions[choice.key as usize].routes() + 1;
            let fits = count + more <= SHORTCUTS_MAX;
            places.push(Place { partition: choice.key, first: if fits { count as u32 } else { NO_SHORTCUTS } });
            count += if fits { more } else { 0 };
        }
        let mut bound =
            Bound { partitions, standings, places: Arc::new(places), shortcuts: Arc::new(vec![NO_SHORTCUT; count]) };
        bound.shorten(zone, |_| true);
        bound
    }

    /// The same with other standings.
    pub fn with(&self, zone: &Zone, standings: Standings) -> Bound {
        let pairs = self.standings.iter().zip(&*standings);
        let changed: Vec<bool> = pairs.map(|(before, now)| !is_same(before.as_ref(), now.as_ref())).collect();
        let mut bound = Bound { standings, ..self.clone() };
        if changed.contains(&true) {
            bound.shorten(zone, |choice| changed[choice.steer as usize]);
        }
        bound
    }

    /// Work out the shortcuts of some choices.
    fn shorten(&mut self, zone: &Zone, is_wanted: impl Fn(&Choice) -> bool) {
        let mut shortcuts = self.shortcuts.to_vec();
        let mut kept = Vec::new();
        for (choice, place) in zone.choices.iter().zip(&*self.places) {
            if place.first == NO_SHORTCUTS || !is_wanted(choice) {
                continue;
            }
            let partition = &self.partitions[place.partition as usize];
            let (steer, standing) = self.steer(zone, choice);
            let own = &mut shortcuts[place.first as usize..][..partition.routes() + 1];
            for (outcome, shortcut) in (OUTCOME_DEFAULT..).zip(own) {
                let found = usual(choice, partition, partition.route(outcome), steer, standing, None, &mut kept);
                *shortcut = match found {
                    Some(Usual { next: Next::Plan(plan), ttl, pool }) => Shortcut { plan, ttl, pool },
                    _ => NO_SHORTCUT,
                };
            }
        }
        self.shortcuts = Arc::new(shortcuts);
    }

    /// As they were given.
    pub fn parts(&self) -> (Partitions, Standings) {
        (self.partitions.clone(), self.standings.clone())
    }

    /// Of a choice, by its number.
    pub fn partition(&self, choice: u32) -> &Partition {
        &self.partitions[self.places[choice as usize].partition as usize]
    }

    /// The plan of a choice for an outcome of its partition, and the most that its TTL may be.
    pub fn shortcut(&self, choice: u32, outcome: i32) -> Option<Shortcut> {
        let first = self.places[choice as usize].first;
        let shortcut = self.shortcuts.get((first as usize).wrapping_add((outcome - OUTCOME_DEFAULT) as usize))?;
        (shortcut.plan != NO_PLAN).then_some(*shortcut)
    }

    /// The steer of a choice, and how its pools stand.
    pub fn steer<'a>(&'a self, zone: &'a Zone, choice: &Choice) -> (&'a Steer, &'a Standing) {
        let steer = &zone.steers[choice.steer as usize];
        (steer, self.standings[choice.steer as usize].as_deref().unwrap_or(&steer.base))
    }
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}
