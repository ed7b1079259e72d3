//! No packet makes the engine panic, and every answer is one: random packets and damaged good ones, for a second, or
//! for FUZZ_SECONDS.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use _native::ahead::look_ahead;
use _native::answer::{Outcome, answer, servfail};
use _native::batch::BATCH;
use _native::bound::Bound;
use _native::left::Left;
use _native::partition::{Arrays, EMBEDDED, Partition};
use _native::shape::{
    self, Alternative, Below, Body, Choice, Cut, Dname, FLAG_AA, NO_CHOICE, Node, Plan, PlanAt, Record, Span, Zone,
};
use _native::snapshot::{Snapshot, Table};
use _native::steer::{Member, Policy, Pool, PoolStanding, Rule, SHARE_ALL, Standing, Steer, TTL_UNBOUND, WhenAllDown};

const PACKETS_PER_LOOK: usize = 1000; // at the clock

/// SplitMix64: the same packets every time.
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        _native::hashing::mix64(self.0)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.word() % count as u64) as usize
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.word() as u8).collect()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A zone that is put together by hand: "example." with a name of every kind.
#[derive(Default)]
struct Maker(Zone);

impl Maker {
    fn octets(&mut self, octets: &[u8]) -> Span {
        let start = self.0.octets.len() as u32;
        self.0.octets.extend_from_slice(octets);
        Span { start, len: octets.len() as u32 }
    }

    fn offsets(&mut self, offsets: &[u32]) -> Span {
        let start = self.0.offsets.len() as u32;
        self.0.offsets.extend_from_slice(offsets);
        Span { start, len: offsets.len() as u32 }
    }

    /// So many records for the question's name, of which those behind the first are additional and may be cut.
    fn body(&mut self, records: usize, rdata: &[u8], base: usize) -> Body {
        let mut one = b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c".to_vec();
        one.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        one.extend_from_slice(rdata);
        let starts: Vec<u32> = (0..records as u32).map(|at| at * one.len() as u32).collect();
        let ttls: Vec<u32> = starts.iter().map(|start| start + 6).collect();
        let cuts = Span { start: self.0.cuts.len() as u32, len: records.saturating_sub(1) as u32 };
        let cut = |at: usize| Cut { octets: (at * one.len()) as u32, arcount: at as u32 - 1 };
        self.0.cuts.extend((1..records).rev().map(cut));
        Body {
            data: self.octets(&one.repeat(records)),
            ancount: records.min(1) as u16,
            nscount: 0,
            arcount: records.saturating_sub(1) as u16,
            base: base as u16,
            pointers: Span::default(),
            owners: self.offsets(&starts),
            ttls: self.offsets(&ttls[..records.min(1)]),
            cuts,
        }
    }

    fn plan(&mut self, body: Body, outcome: shape::Outcome, choice: u32) -> PlanAt {
        self.0.plans.push(Plan { body, choice, flags: FLAG_AA, outcome });
        self.0.plans.len() as PlanAt - 1
    }

    fn hit(&mut self, records: usize, rdata: &[u8]) -> PlanAt {
        let body = self.body(records, rdata, 9);
        self.plan(body, shape::Outcome::Hit, NO_CHOICE)
    }

    fn name(&mut self, name: &[u8], plan: PlanAt, below: Below) {
        let start = self.0.typed.len() as u32;
        self.0.typed.extend([(1, plan), (28, plan), (43, plan)]);
        let name = self.octets(name);
        let other = self.0.nxdomain;
        self.0.nodes.push(Node { name, plans: Span { start, len: 3 }, other, below });
    }

    /// Pools of three members with this policy, that fall back to each other.
    fn choice(&mut self, policy: Policy, answers: u32) -> PlanAt {
        let mut alternatives = Vec::new();
        for pool in 0..3_u8 {
            let (mut plans, mut records) = (Vec::new(), Vec::new());
            for member in 0..3_u8 {
                let plan = self.hit(1, &[192, 0, pool, member]);
                plans.push(plan);
                let body = self.0.plans[plan as usize].body;
                self.0.bodies.push(body);
                records.push(Record { body: self.0.bodies.len() as u32 - 1, class: u32::from(pool * 3 + member) });
            }
            alternatives.push(Alternative {
                plans,
                records,
                whole: Some(self.hit(3, &[192, 0, pool, 255])),
                number: 0,
            });
        }
        let members: Vec<Member> = (0..3).map(|at| Member { weight: at, seed: u64::from(at) }).collect();
        let pool = |at: u32| Pool {
            members: members.clone(),
            policy,
            answers,
            slow_start: 300,
            fallbacks: (0..3).filter(|other| *other != at).map(|other| (other, 1)).collect(),
            seed: u64::from(at),
        };
        let up = PoolStanding { up: vec![1, 2], is_up: true, ramps: vec![(1, 1000)], ttl: 20 };
        let down = PoolStanding { ttl: TTL_UNBOUND, ..PoolStanding::default() };
        let rule = |share: u64, pools: &[u32]| Rule { pools: pools.to_vec(), answers: 2, share, seed: 7 };
        let steer = Steer {
            key: String::new(),
            pools: (0..3).map(pool).collect(),
            rules: vec![rule(SHARE_ALL / 2, &[0]), rule(SHARE_ALL, &[0, 1, 2])],
            when_all_down: WhenAllDown::All,
            ttl: 300,
            ttl_min: 10,
            base: Standing { pools: vec![down.clone(), down, up] },
        };
        self.0.steers.push(steer);
        let choice = Choice {
            key: 0,
            steer: self.0.steers.len() as u32 - 1,
            alternatives,
            default: self.hit(1, b"default"),
            nodata: self.0.nxdomain,
            number: 1,
        };
        self.0.choices.push(choice);
        let choice = self.0.choices.len() as u32 - 1;
        self.plan(Body::default(), shape::Outcome::Hit, choice)
    }
}

fn zone() -> Zone {
    let mut maker = Maker::default();
    maker.0.apex = b"\x07example\0".to_vec();
    maker.0.keys = vec!["key".to_owned()];
    maker.0.nxdomain = maker.hit(0, b"");
    let apex = maker.hit(40, &[1; 40]);
    maker.name(b"\x07example\0", apex, Below::Nothing);
    let long = maker.hit(1, &[2; 2000]);
    maker.name(b"\x04long\x07example\0", long, Below::Plan(long));
    for (name, target) in
        [(b"\x03dn1\x07example\0", b"\x03dn2\x07example\0"), (b"\x03dn2\x07example\0", b"\x03dn3\x07example\0")]
    {
        let body = maker.body(1, target, name.len());
        let plan = maker.plan(body, shape::Outcome::Hit, NO_CHOICE);
        let apex = maker.octets(b"\x07example\0");
        maker.0.dnames.push(Dname { plan, apex });
        let dname = maker.0.dnames.len() as u32 - 1;
        maker.name(name, plan, Below::Dname(dname));
    }
    for (name, policy, answers) in [
        (b"\x03all\x07example\0", Policy::All, 0),
        (b"\x03wei\x07example\0", Policy::Weighted, 1),
        (b"\x03has\x07example\0", Policy::Hash, 2),
    ] {
        let plan = maker.choice(policy, answers);
        maker.name(name, plan, Below::Nothing);
    }
    maker.0.names = maker.0.nodes.len();
    let wild = maker.choice(Policy::All, 2);
    maker.name(b"", wild, Below::Nothing);
    let stand_in = maker.0.nodes.len() as u32 - 1;
    maker.0.nodes[0].below = Below::Node(stand_in);
    maker.0
}

fn partition() -> Partition {
    let route = |orders: Vec<u32>| vec![(0, vec![]), (1, orders)];
    let arrays = Arrays {
        starts4: vec![0, 1 << 24, 5 << 24, 5 << 24 | 1],
        outcomes4: vec![-2, 0, 1, -1],
        starts6: vec![0, 0xFFFF << 32, 1 << 48, 0x2002 << 112, 0x2003 << 112, u128::MAX],
        outcomes6: vec![-2, EMBEDDED, 0, EMBEDDED - 1, 1, -1],
        elsewhere: 1,
        routes: vec![route(vec![2, 0]), route(vec![])],
    };
    Partition::new(arrays).expect("it is in order")
}

fn snapshot() -> Snapshot {
    let zone = Arc::new(zone());
    let standings = Arc::new(vec![None; zone.steers.len()]);
    let bound = Bound::new(&zone, Arc::new(vec![Arc::new(partition())]), standings);
    Snapshot {
        table: Arc::new(Table::link(vec![zone], Vec::new(), vec![b"\x06failed\0".to_vec()])),
        bound: vec![bound],
        server_id: vec![b'i'; 255],
        cookie_secrets: vec![[1; 16]],
        ..Snapshot::default()
    }
}

/// A query that is in order.
fn good(dice: &mut Dice) -> Vec<u8> {
    let names: [&[u8]; 10] = [
        b"\x07EXAMPLE\0",
        b"\x04long\x07example\0",
        b"\x01a\x04long\x07example\0",
        b"\x01a\x03dn1\x07example\0",
        b"\x03all\x07example\0",
        b"\x03wei\x07example\0",
        b"\x03has\x07example\0",
        b"\x01a\x01b\x07example\0",
        b"\x01a\x06failed\0",
        b"\x02id\x06server\0",
    ];
    let mut packet = dice.octets(2);
    packet.extend_from_slice(b"\x01\0\0\x01\0\0\0\0\0\x01");
    packet.extend_from_slice(dice.of(&names));
    packet.extend_from_slice(&dice.of(&[1_u16, 28, 43, 255, 16, 5, 252]).to_be_bytes());
    packet.extend_from_slice(&dice.of(&[1_u16, 1, 1, 3]).to_be_bytes());
    let mut options = Vec::new();
    for _ in 0..dice.below(4) {
        let (code, data): (u16, Vec<u8>) = match dice.below(6) {
            0 => (8, [vec![0, 1, 24, 0], dice.octets(3)].concat()),
            1 => (8, [vec![0, 2, 56, 0, 0x20], dice.octets(6)].concat()),
            2 => (10, dice.octets(8)),
            3 => (3, Vec::new()),
            4 => (11, Vec::new()),
            _ => (dice.word() as u16 % 16, {
                let count = dice.below(30);
                dice.octets(count)
            }),
        };
        options.extend_from_slice(&code.to_be_bytes());
        options.extend_from_slice(&(data.len() as u16).to_be_bytes());
        options.extend_from_slice(&data);
    }
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(&options);
    packet
}

fn damaged(dice: &mut Dice) -> Vec<u8> {
    if dice.below(8) == 0 {
        let count = dice.below(100);
        return dice.octets(count);
    }
    let mut packet = good(dice);
    for _ in 0..dice.below(4) {
        let at = dice.below(packet.len());
        match dice.below(4) {
            0 => packet[at] = dice.word() as u8,
            1 => packet.truncate(at.max(1)),
            2 => packet.insert(at, dice.of(&[0, 0xC0, 0xFF, 41, 63])),
            _ => drop(packet.drain(at..(at + 3).min(packet.len() - 1).max(at))),
        }
    }
    packet
}

/// Everything that comes out is an answer to what came in, and fits; over UDP as well as over TCP.
#[test]
fn no_packet_is_too_much() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let snapshot = snapshot();
    let mut dice = Dice(1);
    let (mut out, mut left) = (Vec::new(), Left::default());
    let mut answered = 0_u64;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        let others: Vec<Vec<u8>> = (0..BATCH).map(|_| damaged(&mut dice)).collect();
        look_ahead(&snapshot, others.len(), |at| &others[at]);
        for _ in 0..PACKETS_PER_LOOK {
            let packet = damaged(&mut dice);
            let client = match dice.below(2) {
                0 => IpAddr::V4(Ipv4Addr::from_bits(dice.word() as u32)),
                _ => IpAddr::V6(Ipv6Addr::from_bits(u128::from(dice.word()) << 64 | u128::from(dice.word()))),
            };
            let (draw, now, stream) = (dice.word() as u32, dice.word() >> dice.below(64), dice.below(2) == 0);
            let outcome = answer(&packet, client, &snapshot, draw, now, stream, &mut out, &mut left);
            let is_query = packet.len() >= 12 && packet[2] & 0x80 == 0;
            assert_eq!(is_query, outcome != Outcome::Silent, "{packet:02x?}");
            if outcome == Outcome::Answered {
                assert_eq!(packet[..2], out[..2]);
                assert!(out[2] & 0x80 != 0 && out.len() <= 65535);
                assert!(stream || out.len() <= 1232, "{packet:02x?}");
                assert_eq!(
                    Outcome::Silent,
                    answer(&out.clone(), client, &snapshot, draw, now, stream, &mut out, &mut left)
                );
                answered += 1;
            }
            if is_query {
                assert_eq!(Outcome::Answered, servfail(&packet, &mut out));
                assert_eq!(packet[..2], out[..2]);
            }
        }
    }
    println!("{answered} packets answered in {seconds} s");
}

/// The system's, with a count of what this thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Once the buffers are large enough, answers of all kinds are given without any more memory.
#[test]
fn no_answer_allocates() {
    let snapshot = snapshot();
    let mut dice = Dice(2);
    let packets: Vec<Vec<u8>> = (0..20_000).map(|_| good(&mut dice)).collect();
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53));
    let (mut out, mut left) = (Vec::new(), Left::default());
    let mut rcodes = [0_u32; 16];
    let mut answer_all = |rcodes: &mut [u32; 16]| {
        for batch in packets.chunks(BATCH) {
            look_ahead(&snapshot, batch.len(), |at| &batch[at]);
        }
        for (draw, packet) in (0..).zip(&packets) {
            answer(packet, client, &snapshot, draw << 16, 1100, false, &mut out, &mut left);
            rcodes[usize::from(out[3] & 15)] += 1;
        }
    };
    answer_all(&mut rcodes);
    let before = ALLOCATIONS.get();
    answer_all(&mut rcodes);
    assert_eq!(before, ALLOCATIONS.get());
    assert!(rcodes[0] > 10_000, "{rcodes:?}");
}
