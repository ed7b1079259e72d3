//! Reading a query. Every octet is untrusted; what cannot be answered is None, what is wrong has an rcode.

/// Octets of a message before its question.
pub const HEADER_OCTETS: usize = 12;
/// RFC 1035 section 3.1.
pub const NAME_OCTETS_MAX: usize = 255;
const LABEL_OCTETS_MAX: u8 = 63;

/// RFC 1035 section 4.1.1.
pub const NOERROR: u16 = 0;
/// The query can not be read.
pub const FORMERR: u16 = 1;
/// The server failed.
pub const SERVFAIL: u16 = 2;
/// Another opcode than QUERY.
pub const NOTIMP: u16 = 4;
/// Not answered here.
pub const REFUSED: u16 = 5;
/// RFC 6672 section 2.2.
pub const YXDOMAIN: u16 = 6;
/// RFC 6891 section 9.
pub const BADVERS: u16 = 16;
/// RFC 7873 section 8.
pub const BADCOOKIE: u16 = 23;

/// Types of records and questions.
pub const TYPE_CNAME: u16 = 5;
/// RFC 6891.
pub const TYPE_OPT: u16 = 41;
/// RFC 4034 section 5.
pub const TYPE_DS: u16 = 43;
/// RFC 1995.
pub const TYPE_IXFR: u16 = 251;
/// RFC 5936.
pub const TYPE_AXFR: u16 = 252;
/// RFC 8482.
pub const TYPE_ANY: u16 = 255;
/// The Internet.
pub const CLASS_IN: u16 = 1;
/// CHAOS.
pub const CLASS_CH: u16 = 3;

/// RFC 5001.
pub const OPTION_NSID: u16 = 3;
/// RFC 7871.
pub const OPTION_ECS: u16 = 8;
/// RFC 7873.
pub const OPTION_COOKIE: u16 = 10;
/// RFC 7828.
pub const OPTION_KEEPALIVE: u16 = 11;
/// RFC 8914.
pub const OPTION_EDE: u16 = 15;

/// Octets; RFC 1035 section 2.3.4.
const UDP_SIZE_WITHOUT_EDNS: u16 = 512;
const OPT_OCTETS: usize = 11;
const FIXED_OCTETS: usize = 10;
const DO: u16 = 0x8000;
const OPCODE: u16 = 0x7800;

/// Of an address in an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

/// EDNS Client Subnet as it was sent (RFC 7871 section 6), found to be well formed.
#[derive(Clone, Copy, Debug)]
pub struct ClientSubnet<'a> {
    /// V4 for an option that names no address at all.
    pub family: Family,
    /// Bits; 0 where there is no address.
    pub source: u8,
    /// The whole address, zeros behind the prefix.
    pub address: u128,
    /// FAMILY, SOURCE and SCOPE PREFIX-LENGTH, ADDRESS.
    pub octets: &'a [u8],
}

impl ClientSubnet<'_> {
    /// The address, where there is one.
    pub fn located(&self) -> Option<(Family, u128)> {
        (self.source != 0).then_some((self.family, self.address))
    }
}

/// Room for a lower-case name. It belongs to who reads a query, so that no name is copied once it is written there.
pub struct KeyRoom([u8; NAME_OCTETS_MAX]);

impl Default for KeyRoom {
    fn default() -> KeyRoom {
        KeyRoom([0; NAME_OCTETS_MAX])
    }
}

impl KeyRoom {
    /// A name in wire form, of at most NAME_OCTETS_MAX octets, in lower case.
    pub fn lower(&mut self, name: &[u8]) -> &[u8] {
        for (lower, octet) in self.0.iter_mut().zip(name) {
            *lower = octet.to_ascii_lowercase();
        }
        &self.0[..name.len()]
    }
}

/// A question and what came with it. `rcode` is what reading it came to; anything but 0 is an answer already.
pub struct Query<'a> {
    /// The bits of the header that an answer repeats.
    pub opcode_rd: u16,
    /// What reading came to.
    pub rcode: u16,
    /// The question section, echoed as it came (RFC 4343: case stays).
    pub question: &'a [u8],
    /// The name, lower-case, in wire form.
    pub key: &'a [u8],
    /// Of the name.
    pub name_octets: usize,
    /// Of the question.
    pub qtype: u16,
    /// Of the question.
    pub qclass: u16,
    /// Whether there is an OPT record.
    pub edns: bool,
    /// What the client takes.
    pub udp_size: u16,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// Asked for.
    pub nsid: bool,
    /// Asked for.
    pub keepalive: bool,
    /// As it came.
    pub cookie: Option<&'a [u8]>,
    /// As it came.
    pub subnet: Option<ClientSubnet<'a>>,
}

/// What a glance at a query with ECS says.
pub struct Peek<'a> {
    /// The name as it came, in wire form.
    pub name: &'a [u8],
    /// Of the question.
    pub qtype: u16,
    /// The IPv4 address, zeros behind the prefix.
    pub subnet: u32,
}

/// A guess at what `read` will find, for a packet with one question and behind it an OPT record whose first option is
/// ECS for IPv4, as resolvers send it; None for all others.
pub fn peek(packet: &[u8]) -> Option<Peek<'_>> {
    let end = walk(packet, HEADER_OCTETS, false)?;
    let [_, _, _, _, opt @ ..] = packet.get(end..)? else { return None };
    let [0, 0, 41, _, _, _, _, _, _, _, _, 0, 8, 0, length, 0, 1, _, 0, address @ ..] = opt else { return None };
    let mut subnet = [0; 4];
    for (octet, given) in subnet.iter_mut().zip(address).take(usize::from(length.saturating_sub(4))) {
        *octet = *given;
    }
    let subnet = u32::from_be_bytes(subnet);
    Some(Peek { name: &packet[HEADER_OCTETS..end], qtype: word(packet, end), subnet })
}

fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// The query in `packet`, or None for what gets no answer: too short, or an answer itself (QR=1).
pub fn read<'a>(packet: &'a [u8], room: &'a mut KeyRoom) -> Option<Query<'a>> {
    if packet.len() < HEADER_OCTETS || packet[2] & 0x80 != 0 {
        return None;
    }
    let mut query = Query {
        opcode_rd: u16::from(packet[2] & 0x79) << 8,
        rcode: NOERROR,
        question: &[],
        key: &[0],
        name_octets: 0,
        qtype: 0,
        qclass: 0,
        edns: false,
        udp_size: UDP_SIZE_WITHOUT_EDNS,
        dnssec_ok: false,
        nsid: false,
        keepalive: false,
        cookie: None,
        subnet: None,
    };
    let [qdcount, ancount, nscount, arcount] = [4, 6, 8, 10].map(|at| usize::from(word(packet, at)));
    let is_other = query.opcode_rd & OPCODE != 0;
    let mut at = HEADER_OCTETS;
    if qdcount == 1 {
        let Some(end) = walk(packet, HEADER_OCTETS, false).filter(|end| end + 4 <= packet.len()) else {
            query.rcode = if is_other { NOTIMP } else { FORMERR };
            return Some(query);
        };
        query.key = room.lower(&packet[HEADER_OCTETS..end]);
        query.name_octets = end - HEADER_OCTETS;
        at = end + 4;
        query.question = &packet[HEADER_OCTETS..at];
        query.qtype = word(packet, end);
        query.qclass = word(packet, end + 2);
    }
    if is_other {
        if qdcount < 2 {
            // RFC 6891 section 6.1.1: an OPT is answered with an OPT, even now
            query.read_additional(packet, at, ancount + nscount + arcount);
        }
        query.rcode = NOTIMP;
    } else if qdcount > 1 || ancount != 0 || (nscount != 0 && query.qtype != TYPE_IXFR) {
        query.rcode = FORMERR; // RFC 9619; a query has a question and nothing else before its options
    } else {
        query.read_additional(packet, at, nscount + arcount);
        if qdcount == 0 && query.rcode == NOERROR && query.cookie.is_none() {
            query.rcode = FORMERR; // RFC 7873 section 5.4: only a cookie may be asked for without a question
        }
    }
    Some(query)
}

/// The offset behind the name at `at`, if there is one. A pointer ends it, where one is allowed.
fn walk(packet: &[u8], mut at: usize, pointers: bool) -> Option<usize> {
    let start = at;
    loop {
        let length = *packet.get(at)?;
        match length {
            0 => return Some(at + 1).filter(|end| end - start <= NAME_OCTETS_MAX),
            0xC0.. => return Some(at + 2).filter(|&end| pointers && end <= packet.len()),
            1..=LABEL_OCTETS_MAX => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

impl<'a> Query<'a> {
    fn read_additional(&mut self, packet: &'a [u8], mut at: usize, count: usize) {
        for _ in 0..count {
            let rest = packet.get(at..).unwrap_or_default();
            let read = if rest.len() >= OPT_OCTETS && rest[..3] == [0, 0, 41] {
                self.read_opt(rest)
            } else {
                walk(rest, 0, true)
                    .filter(|end| end + FIXED_OCTETS <= rest.len())
                    .map(|end| end + FIXED_OCTETS + usize::from(word(rest, end + 8)))
                    .ok_or(FORMERR)
            };
            match read {
                Ok(octets) => at += octets,
                Err(rcode) => {
                    self.rcode = rcode;
                    return;
                }
            }
        }
        if at != packet.len() {
            self.rcode = FORMERR; // octets behind the last record, or a record that is cut off
        }
    }

    /// The octets of the OPT record that `rest` begins with; Err: an rcode.
    fn read_opt(&mut self, rest: &'a [u8]) -> Result<usize, u16> {
        if self.edns {
            return Err(FORMERR); // RFC 6891 section 6.1.1: more than one OPT
        }
        self.edns = true;
        self.udp_size = word(rest, 3).max(UDP_SIZE_WITHOUT_EDNS); // RFC 6891 section 6.2.3
        self.dnssec_ok = word(rest, 7) & DO != 0;
        if rest[6] != 0 {
            return Err(BADVERS);
        }
        let end = OPT_OCTETS + usize::from(word(rest, 9));
        self.read_options(rest.get(OPT_OCTETS..end).ok_or(FORMERR)?)?;
        Ok(end)
    }

    fn read_options(&mut self, mut rest: &'a [u8]) -> Result<(), u16> {
        while !rest.is_empty() {
            if rest.len() < 4 {
                return Err(FORMERR);
            }
            let (code, length) = (word(rest, 0), usize::from(word(rest, 2)));
            let data = rest.get(4..4 + length).ok_or(FORMERR)?;
            self.read_option(code, data)?;
            rest = &rest[4 + length..];
        }
        Ok(())
    }

    fn read_option(&mut self, code: u16, data: &'a [u8]) -> Result<(), u16> {
        match code {
            OPTION_ECS => {
                let subnet = read_subnet(data).filter(|_| self.subnet.is_none());
                self.subnet = Some(subnet.ok_or(FORMERR)?);
            }
            OPTION_COOKIE => {
                // RFC 7873 section 5.2.2: 8 octets of the client, and perhaps 8 to 32 of a server.
                if data.len() != 8 && !(16..=40).contains(&data.len()) {
                    return Err(FORMERR);
                }
                self.cookie = self.cookie.or(Some(data)); // the first one counts, section 5.2
            }
            OPTION_NSID => self.nsid = true,
            OPTION_KEEPALIVE => {
                if !data.is_empty() {
                    return Err(FORMERR); // RFC 7828 section 3.2.1: a client sends no timeout
                }
                self.keepalive = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// RFC 7871 section 7.1.2 and 7.2.1: anything malformed is FORMERR, so None.
fn read_subnet(octets: &[u8]) -> Option<ClientSubnet<'_>> {
    let [family_high, family_low, source, scope, address @ ..] = octets else { return None };
    if *scope != 0 {
        return None; // SCOPE PREFIX-LENGTH must be 0 in queries
    }
    let (family, width) = match (family_high, family_low) {
        (0, 1) => (Family::V4, 32),
        (0, 2) => (Family::V6, 128),
        // "no address": what some clients send to opt out
        (0, 0) if *source == 0 && address.is_empty() => (Family::V4, 0),
        _ => return None,
    };
    if *source > width || address.len() != usize::from(*source).div_ceil(8) {
        return None;
    }
    let mut whole = [0; 16];
    whole[..address.len()].copy_from_slice(address);
    let value = u128::from_be_bytes(whole);
    let past = u128::MAX.checked_shr(u32::from(*source)).unwrap_or(0);
    if value & past != 0 {
        return None; // "bits set past the prefix"
    }
    let address = if family == Family::V4 { value >> 96 } else { value };
    Some(ClientSubnet { family, source: *source, address, octets })
}
