//! answer: the whole way of a query through the engine.

use std::cell::RefCell;
use std::net::IpAddr;

use crate::assemble::{FLAG_TC, Message, NameAt, Options};
use crate::choose::{Client, Next, choose};
use crate::cookie::cookie_for;
use crate::decide::{Scratch, next_draw};
use crate::left::Left;
use crate::lookup::{ANY_DATA, Found, find};
use crate::shape::{self, FLAG_AA, NO_CHOICE, PlanAt, Zone};
use crate::snapshot::{Snapshot, UDP_SIZE_MAX_DEFAULT, is_under};
use crate::steer::TTL_UNBOUND;
use crate::wire::{
    BADCOOKIE, CLASS_CH, CLASS_IN, FORMERR, HEADER_OCTETS, KeyRoom, NAME_OCTETS_MAX, NOERROR, NOTIMP, Query, REFUSED,
    SERVFAIL, TYPE_ANY, TYPE_AXFR, TYPE_CNAME, TYPE_IXFR, TYPE_OPT, YXDOMAIN, read,
};

/// DNAMEs followed for one answer.
const DNAME_CHAIN_MAX: usize = 8;
const EDE_NOT_READY: u16 = 14; // RFC 8914 section 4.15
const EDE_NOT_AUTHORITATIVE: u16 = 20; // RFC 8914 section 4.21
const EDE_NOT_SUPPORTED: u16 = 21; // RFC 8914 section 4.22
const TYPE_META_FIRST: u16 = 128; // RFC 6895 section 3.1: 128 to 255 are meta and question types
const RECORD_FIXED_OCTETS: usize = 12; // an owner that is a pointer, type, class, TTL, length

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `out` is to be sent.
    Answered,
    /// Nothing is to be said.
    Silent,
    /// It is for a service in Python: another opcode, a transfer, the CHAOS class. What is in `out` means nothing.
    HandOver,
}

/// The answer to `packet` in wire form. `out` is cleared and reused: nothing is allocated once it is large enough.
///
/// `client` is the address that asked; `draw` 32 random bits; `now` Unix seconds; `stream` says that the query came
/// over TCP. `left` says what was answered; nothing of it counts for silence.
#[expect(clippy::too_many_arguments, reason = "as geodns.engine.answer has them, which is the definition")]
pub fn answer(
    packet: &[u8],
    client: IpAddr,
    snapshot: &Snapshot,
    draw: u32,
    now: u64,
    stream: bool,
    out: &mut Vec<u8>,
    left: &mut Left,
) -> Outcome {
    out.clear();
    left.clear();
    let mut room = KeyRoom::default();
    let Some(query) = read(packet, &mut room) else { return Outcome::Silent };
    if query.rcode == NOTIMP {
        return Outcome::HandOver;
    }
    left.qtype = query.qtype;
    let mut message = Message::new(&query, out);
    let (mut flags, mut ede, mut scope) = (query.rcode, None, 0);
    if query.rcode == NOERROR && !query.question.is_empty() {
        match ask(&query, snapshot) {
            Said::Rcode(rcode, why) => (flags, ede) = (rcode, why),
            Said::HandOver => return Outcome::HandOver,
            Said::Found(Found::Any { zone }) => {
                left.zone = zone_of(snapshot, zone).number;
                flags = FLAG_AA;
                message.add_record(|out| out.extend_from_slice(ANY_DATA));
            }
            Said::Found(Found::Plan { zone, plan }) if is_fixed(snapshot, zone, plan) => {
                let zone = zone_of(snapshot, zone);
                left.zone = zone.number;
                let plan = &zone.plans[plan as usize];
                flags = plan.flags;
                let name = NameAt { at: HEADER_OCTETS, octets: query.name_octets };
                message.add(zone, &plan.body, name, TTL_UNBOUND);
            }
            Said::Found(found) => {
                left.zone = zone_of(snapshot, found.zone()).number;
                let subnet = query.subnet.and_then(|subnet| subnet.located());
                let mut walk = Walk {
                    snapshot,
                    client: Client { asker: client, subnet },
                    now,
                    draw,
                    has_drawn: false,
                    flags: 0,
                    scope: 0,
                    outcome: shape::Outcome::Hit,
                    left,
                };
                SCRATCH.with_borrow_mut(|scratch| walk.follow(&query, found, &mut message, scratch));
                (flags, scope) = (walk.flags, walk.scope);
            }
        }
    }
    left.set_rcode(flags);
    let options = options(&query, client, snapshot, now, stream, scope, ede);
    message.finish(packet, &query, flags, &options, snapshot.udp_size_max, stream);
    Outcome::Answered
}

/// What a client is told that is over its limit: to come by TCP, or with the cookie that this has.
pub fn curtailed(packet: &[u8], client: IpAddr, snapshot: &Snapshot, now: u64, out: &mut Vec<u8>) -> Outcome {
    out.clear();
    let mut room = KeyRoom::default();
    let Some(query) = read(packet, &mut room) else { return Outcome::Silent };
    let mut flags = query.rcode | FLAG_TC;
    let ours = query.cookie.filter(|_| query.rcode == NOERROR);
    let cookie = ours.and_then(|cookie| cookie_for(cookie, client, &snapshot.cookie_secrets, now));
    if cookie.is_some() && snapshot.limiter.as_ref().is_some_and(|limiter| limiter.rules.badcookie) {
        flags = BADCOOKIE;
    }
    let options = Options { cookie, ..Options::default() };
    Message::new(&query, out).finish(packet, &query, flags, &options, snapshot.udp_size_max, false);
    Outcome::Answered
}

/// What to say when the engine itself failed on `packet`.
pub fn servfail(packet: &[u8], out: &mut Vec<u8>) -> Outcome {
    out.clear();
    let mut room = KeyRoom::default();
    let Some(query) = read(packet, &mut room) else { return Outcome::Silent };
    let message = Message::new(&query, out);
    message.finish(packet, &query, SERVFAIL, &Options::default(), UDP_SIZE_MAX_DEFAULT, false);
    Outcome::Answered
}

/// What a question came to.
enum Said {
    /// Nothing but an rcode, and perhaps an EDE.
    Rcode(u16, Option<u16>),
    /// Nothing: a service has to say it.
    HandOver,
    /// Something of the zones'.
    Found(Found),
}

fn ask(query: &Query<'_>, snapshot: &Snapshot) -> Said {
    let (key, qtype) = (query.key, query.qtype);
    if qtype == TYPE_OPT || (TYPE_META_FIRST..TYPE_ANY).contains(&qtype) {
        return match qtype {
            TYPE_IXFR | TYPE_AXFR => Said::HandOver,
            TYPE_META_FIRST..TYPE_AXFR => Said::Rcode(REFUSED, Some(EDE_NOT_SUPPORTED)),
            _ => Said::Rcode(FORMERR, None),
        };
    }
    match query.qclass {
        CLASS_IN => find(&snapshot.table, key, qtype).map_or_else(|| outside(snapshot, key), Said::Found),
        CLASS_CH => Said::HandOver,
        _ => Said::Rcode(REFUSED, Some(EDE_NOT_AUTHORITATIVE)),
    }
}

/// What to say of a name in none of the zones that are served.
fn outside(snapshot: &Snapshot, key: &[u8]) -> Said {
    if snapshot.table.failed.iter().any(|apex| is_under(key, apex)) {
        return Said::Rcode(SERVFAIL, Some(EDE_NOT_READY));
    }
    Said::Rcode(REFUSED, Some(EDE_NOT_AUTHORITATIVE))
}

fn zone_of(snapshot: &Snapshot, zone: u32) -> &Zone {
    &snapshot.table.zones[zone as usize]
}

fn is_fixed(snapshot: &Snapshot, zone: u32, plan: PlanAt) -> bool {
    zone_of(snapshot, zone).plans[plan as usize].choice == NO_CHOICE
}

/// A walk over the choices and DNAMEs of an answer.
struct Walk<'a, 'l> {
    snapshot: &'a Snapshot,
    client: Client,
    now: u64,
    draw: u32,
    has_drawn: bool,
    flags: u16,
    /// ECS, in bits.
    scope: u32,
    /// Of the plan that was met last.
    outcome: shape::Outcome,
    left: &'l mut Left,
}

impl<'a> Walk<'a, '_> {
    /// Add everything that `found` leads to.
    fn follow(&mut self, query: &Query<'_>, mut found: Found, message: &mut Message<'a>, scratch: &mut Scratch) {
        let mut name = Name::new(&query.question[..query.name_octets]);
        let mut room = KeyRoom::default();
        let mut used = [None; DNAME_CHAIN_MAX];
        for turn in 0..DNAME_CHAIN_MAX {
            let place = NameAt { at: name.at, octets: name.len };
            let dname = match found {
                Found::Plan { zone, plan } => {
                    self.plans(zone, plan, place, message, scratch);
                    None
                }
                Found::Dname { zone, dname } => {
                    let dname = &zone_of(self.snapshot, zone).dnames[dname as usize];
                    self.plans(zone, dname.plan, place, message, scratch);
                    Some((zone, dname))
                }
                Found::Any { .. } => {
                    // It is not asked for behind a DNAME, see below.
                    self.flags = self.flags & FLAG_AA | FLAG_AA;
                    None
                }
            };
            let Some((zone, dname)) = dname else { return };
            if self.outcome != shape::Outcome::Hit {
                return;
            }
            match name.redirect(message) {
                Redirected::Done => {}
                Redirected::TooLong => {
                    self.flags |= YXDOMAIN; // RFC 6672 section 2.2
                    return;
                }
                Redirected::Broken => return,
            }
            let key = room.lower(name.as_slice());
            let apex = dname.apex.of(&zone_of(self.snapshot, zone).octets);
            if query.qtype == TYPE_CNAME || query.qtype == TYPE_ANY || !is_under(key, apex) {
                return;
            }
            used[turn] = Some(found);
            match find(&self.snapshot.table, key, query.qtype) {
                Some(following) if !used.contains(&Some(following)) => found = following,
                // the resolver has this DNAME now, and sees the circle as well as we do
                _ => return,
            }
        }
    }

    /// Add a plan, and what its choices lead to.
    fn plans(&mut self, zone_at: u32, first: PlanAt, name: NameAt, message: &mut Message<'a>, scratch: &mut Scratch) {
        let zone = zone_of(self.snapshot, zone_at);
        let mut plan = &zone.plans[first as usize];
        let mut ttl = TTL_UNBOUND;
        loop {
            if !plan.body.data.is_empty() {
                message.add(zone, &plan.body, name, ttl);
            }
            // RFC 1035 section 4.1.1: AA is that of the first owner; RFC 6604: the rcode that of the last
            self.flags = self.flags & FLAG_AA | plan.flags;
            self.outcome = plan.outcome;
            if plan.choice == NO_CHOICE {
                return;
            }
            if self.has_drawn {
                self.draw = next_draw(self.draw);
            }
            self.has_drawn = true;
            let chosen =
                choose(self.snapshot, zone_at, plan.choice, self.client, self.draw, self.now, scratch, self.left);
            self.draw = chosen.draw;
            self.scope = self.scope.max(chosen.scope);
            ttl = chosen.ttl;
            match chosen.next {
                Next::Plan(at) => plan = &zone.plans[at as usize],
                Next::Records => {
                    for record in &scratch.records {
                        message.add(zone, &zone.bodies[record.body as usize], name, ttl);
                    }
                    return;
                }
            }
        }
    }
}

/// The name being answered, in full, and where it stands in the message.
struct Name {
    octets: [u8; 2 * NAME_OCTETS_MAX],
    len: usize,
    at: usize,
}

/// What came of following a DNAME.
enum Redirected {
    /// The name is another, and stands at the end of the message.
    Done,
    /// It would have more than NAME_OCTETS_MAX octets.
    TooLong,
    /// The last body is no DNAME that this name is under.
    Broken,
}

impl Name {
    /// That of the question.
    fn new(name: &[u8]) -> Name {
        let mut octets = [0; 2 * NAME_OCTETS_MAX];
        octets[..name.len()].copy_from_slice(name);
        Name { octets, len: name.len(), at: HEADER_OCTETS }
    }

    fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// RFC 6672 section 3.1: add a CNAME from this name to where the DNAME sends it, with its TTL as it is told, which
    /// health may have lowered.
    fn redirect(&mut self, message: &mut Message<'_>) -> Redirected {
        let Some((dname, base)) = message.last() else { return Redirected::Broken };
        let (Some(target), Some(kept)) = (dname.get(RECORD_FIXED_OCTETS..), self.len.checked_sub(base)) else {
            return Redirected::Broken;
        };
        let ttl = [dname[6], dname[7], dname[8], dname[9]];
        let len = kept + target.len();
        let Some(end) = self.octets.get_mut(kept..len) else { return Redirected::Broken };
        end.copy_from_slice(target);
        if len > NAME_OCTETS_MAX {
            return Redirected::TooLong;
        }
        let owner = 0xC000 | self.at as u16;
        self.len = len;
        self.at = message.end() + RECORD_FIXED_OCTETS;
        message.add_record(|out| {
            for word in [owner, TYPE_CNAME, CLASS_IN] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            out.extend_from_slice(&ttl);
            out.extend_from_slice(&(len as u16).to_be_bytes());
            out.extend_from_slice(self.as_slice());
        });
        Redirected::Done
    }
}

fn options<'a>(
    query: &Query<'a>,
    client: IpAddr,
    snapshot: &'a Snapshot,
    now: u64,
    stream: bool,
    scope: u32,
    ede: Option<u16>,
) -> Options<'a> {
    if !query.edns || query.rcode != NOERROR {
        return Options::default(); // what could not be read, or has a version we do not know, has none to answer
    }
    Options {
        subnet: query.subnet.map(|subnet| (subnet.octets, scope)),
        cookie: query.cookie.and_then(|cookie| cookie_for(cookie, client, &snapshot.cookie_secrets, now)),
        nsid: if query.nsid { &snapshot.server_id } else { &[] },
        keepalive: (query.keepalive && stream).then_some(snapshot.tcp_keepalive),
        ede,
    }
}
