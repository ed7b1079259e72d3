//! Putting an answer together: header, question, bodies moved to where they stand, options.
//!
//! Everything is written where it is sent from; what turns out not to fit is cut off again.

use crate::cookie::COOKIE_OCTETS;
use crate::shape::{Body, Cut, Zone};
use crate::steer::TTL_UNBOUND;
use crate::wire::{
    HEADER_OCTETS, OPTION_COOKIE, OPTION_ECS, OPTION_EDE, OPTION_KEEPALIVE, OPTION_NSID, Query, TYPE_OPT,
};

/// RFC 1035 section 4.2.2: the length over TCP has two octets.
const MESSAGE_OCTETS_MAX: usize = 65535;
const FLAG_QR: u16 = 0x8000;
/// RFC 1035 section 4.1.1.
pub const FLAG_TC: u16 = 0x0200;
const FLAGS_TOLD: u16 = 0x060F; // AA, TC, rcode
const DO: u16 = 0x8000;
const POINTER: u16 = 0xC000;
const POINTER_TARGET: u16 = 0x3FFF;
const QUESTION_FIXED_OCTETS: usize = 4; // type and class
const OPT_OCTETS: usize = 11;
const OPTION_OCTETS: usize = 4; // code and length

/// A name that an answer is about: where it stands in full in the message, and its octets.
#[derive(Clone, Copy, Debug)]
pub struct NameAt {
    /// Octets in front of it.
    pub at: usize,
    /// How many it has.
    pub octets: usize,
}

/// The last body of an answer.
#[derive(Clone, Copy)]
struct Last<'a> {
    at: usize,
    base: usize,
    cuts: &'a [Cut],
}

/// EDNS options to be told.
#[derive(Default)]
pub struct Options<'a> {
    /// RFC 7871 section 7.2.1: FAMILY, SOURCE PREFIX-LENGTH and ADDRESS as in the query, with our scope (bits).
    pub subnet: Option<(&'a [u8], u32)>,
    /// RFC 7873.
    pub cookie: Option<[u8; COOKIE_OCTETS]>,
    /// Empty: not told.
    pub nsid: &'a [u8],
    /// Units of 100 ms.
    pub keepalive: Option<u16>,
    /// An INFO-CODE.
    pub ede: Option<u16>,
}

impl Options<'_> {
    fn octets(&self) -> usize {
        let told = [
            self.subnet.map(|(octets, _)| octets.len()),
            self.cookie.map(|cookie| cookie.len()),
            Some(self.nsid.len()).filter(|&octets| octets > 0),
            self.keepalive.map(|_| 2),
            self.ede.map(|_| 2),
        ];
        told.iter().flatten().map(|octets| OPTION_OCTETS + octets).sum()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some((octets, scope)) = self.subnet {
            let at = out.len() + OPTION_OCTETS;
            option(out, OPTION_ECS, octets);
            out[at + 3] = scope as u8;
        }
        if let Some(cookie) = &self.cookie {
            option(out, OPTION_COOKIE, cookie);
        }
        if !self.nsid.is_empty() {
            option(out, OPTION_NSID, self.nsid);
        }
        if let Some(units) = self.keepalive {
            option(out, OPTION_KEEPALIVE, &units.to_be_bytes());
        }
        if let Some(code) = self.ede {
            option(out, OPTION_EDE, &code.to_be_bytes());
        }
    }
}

/// An answer that is being written.
pub struct Message<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    ancount: u32,
    nscount: u32,
    arcount: u32,
    last: Option<Last<'a>>,
}

impl<'a> Message<'a> {
    /// Begin with room for the header, and the question.
    pub fn new(query: &Query<'_>, out: &'a mut Vec<u8>) -> Message<'a> {
        out.clear();
        out.extend_from_slice(&[0; HEADER_OCTETS]);
        out.extend_from_slice(query.question);
        let start = out.len();
        Message { out, start, ancount: 0, nscount: 0, arcount: 0, last: None }
    }

    /// Where the next octet goes.
    pub fn end(&self) -> usize {
        self.out.len()
    }

    /// The last body's octets as they are told, and the octets of the name it was laid out for.
    pub fn last(&self) -> Option<(&[u8], usize)> {
        self.last.map(|last| (&self.out[last.at..], last.base))
    }

    /// Add a zone's body for the name of the answer, with no TTL above `ttl`.
    pub fn add(&mut self, zone: &'a Zone, body: &'a Body, name: NameAt, ttl: u32) {
        let at = self.out.len();
        self.out.extend_from_slice(zone.data(body));
        self.ancount += u32::from(body.ancount);
        self.nscount += u32::from(body.nscount);
        self.arcount += u32::from(body.arcount);
        self.last = Some(Last { at, base: body.base as usize, cuts: body.cuts.of(&zone.cuts) });
        let moved = &mut self.out[at..];
        place(moved, body, zone, name, at);
        if ttl != TTL_UNBOUND {
            lower(moved, body.ttls.of(&zone.offsets), ttl);
        }
    }

    /// Add one record for the answer section, as it stands.
    pub fn add_record(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.last = Some(Last { at: self.out.len(), base: 0, cuts: &[] });
        self.ancount += 1;
        write(self.out);
    }

    /// Cut what does not fit, and write options and header. What does not fit loses its optional records, and then all
    /// of them, with TC set (RFC 2181 section 9).
    pub fn finish(
        mut self,
        packet: &[u8],
        query: &Query<'_>,
        mut flags: u16,
        options: &Options<'_>,
        udp_size_max: u16,
        stream: bool,
    ) {
        let option_octets = options.octets();
        let opt_octets = if query.edns { OPT_OCTETS + option_octets } else { 0 };
        let limit = if stream { MESSAGE_OCTETS_MAX } else { usize::from(query.udp_size.min(udp_size_max)) };
        if self.out.len() + opt_octets > limit && !self.cut(limit.saturating_sub(opt_octets)) {
            self.out.truncate(self.start);
            (self.ancount, self.nscount, self.arcount) = (0, 0, 0);
            flags |= FLAG_TC;
        }
        if query.edns {
            self.arcount += 1;
            self.out.extend_from_slice(&[0]);
            for word in [
                TYPE_OPT,
                udp_size_max,
                (flags >> 4 & 0x0F) << 8, // the upper rcode, version 0
                if query.dnssec_ok { DO } else { 0 },
                option_octets as u16,
            ] {
                self.out.extend_from_slice(&word.to_be_bytes());
            }
            options.write(self.out);
        }
        let head = [
            FLAG_QR | query.opcode_rd | (flags & FLAGS_TOLD),
            u16::from(!query.question.is_empty()),
            self.ancount as u16,
            self.nscount as u16,
            self.arcount as u16,
        ];
        self.out[..2].copy_from_slice(&packet[..2]);
        for (word, at) in head.iter().zip((2..).step_by(2)) {
            put_word(self.out, at, *word);
        }
    }

    /// Shorten the last body so that the message ends by `end`; false when it can not be.
    fn cut(&mut self, end: usize) -> bool {
        let Some(last) = self.last else { return false };
        let Some(cut) = last.cuts.iter().find(|cut| last.at + cut.octets as usize <= end) else { return false };
        self.out.truncate(last.at + cut.octets as usize);
        self.arcount = cut.arcount;
        true
    }
}

/// Make a body's octets fit for a name, and for standing at `body_at`.
///
/// An owner's pointer goes to the name; a pointer into the name's end follows that end; a pointer into the body itself
/// follows the body.
fn place(moved: &mut [u8], body: &Body, zone: &Zone, name: NameAt, body_at: usize) {
    let laid_out_at = HEADER_OCTETS + body.base as usize + QUESTION_FIXED_OCTETS;
    // In the arithmetic of 16 bits, in which what is less than 0 is added as well.
    let name_shift = (name.at + name.octets).wrapping_sub(body.base as usize + HEADER_OCTETS) as u16;
    let body_shift = body_at.wrapping_sub(laid_out_at) as u16;
    if name.at != HEADER_OCTETS {
        for &at in body.owners.of(&zone.offsets) {
            put_word(moved, at as usize, POINTER | name.at as u16);
        }
    } else if name_shift == 0 && body_shift == 0 {
        return; // it stands where it was laid out to stand
    }
    for &at in body.pointers.of(&zone.offsets) {
        let at = at as usize;
        let target = u16::from_be_bytes([moved[at], moved[at + 1]]) & POINTER_TARGET;
        let shift = if usize::from(target) < laid_out_at { name_shift } else { body_shift };
        put_word(moved, at, POINTER | target.wrapping_add(shift));
    }
}

/// No TTL above `ttl` seconds at these offsets, where those of one RRset stand, all equal.
fn lower(data: &mut [u8], ttls: &[u32], ttl: u32) {
    for &at in ttls {
        let told = &mut data[at as usize..at as usize + 4];
        if *told <= ttl.to_be_bytes()[..] {
            return;
        }
        told.copy_from_slice(&ttl.to_be_bytes());
    }
}

/// One EDNS option (RFC 6891 section 6.1.2).
fn option(out: &mut Vec<u8>, code: u16, data: &[u8]) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

fn put_word(octets: &mut [u8], at: usize, word: u16) {
    octets[at..at + 2].copy_from_slice(&word.to_be_bytes());
}
