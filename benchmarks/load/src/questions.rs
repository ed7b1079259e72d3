//! What is asked: names and types from files, drawn by a seeded generator, rendered once where they can be.

use std::fs;

const NXDOMAIN_LABEL: usize = 12; // hexadecimal digits: 2^48 names, so that no cache has seen one before
const UDP_SIZE: u16 = 1232; // octets, as DNS flag day 2020 recommends and resolvers send
const MIXED: [(Workload, u64); 3] = [(Workload::Static, 70), (Workload::Geo, 20), (Workload::Nxdomain, 10)]; // per cent

#[derive(Clone, Copy, PartialEq)]
pub enum Workload {
    Static,
    Geo,
    Nxdomain,
    Mixed,
}

impl Workload {
    pub fn parse(word: &str) -> Option<Workload> {
        match word {
            "static" => Some(Workload::Static),
            "geo" => Some(Workload::Geo),
            "nxdomain" => Some(Workload::Nxdomain),
            "mixed" => Some(Workload::Mixed),
            _ => None,
        }
    }
}

pub struct Questions {
    workload: Workload,
    fixed: Vec<Vec<u8>>,
    geo: Vec<Vec<u8>>, // ends after the option's prefix lengths; three octets of address follow
    networks: Vec<[u8; 3]>,
    nxdomain: Vec<u8>, // its first label is written over
    dice: u64,
}

impl Questions {
    pub fn read(folder: &str, workload: Workload, edns: bool, seed: u64) -> Result<Questions, String> {
        let lines = |file: &str, of: Workload| -> Result<Vec<String>, String> {
            if workload != of && workload != Workload::Mixed {
                return Ok(Vec::new());
            }
            let path = format!("{folder}/{file}");
            let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let lines: Vec<String> = text.lines().map(str::to_string).filter(|line| !line.is_empty()).collect();
            if lines.is_empty() {
                return Err(format!("{path} is empty"));
            }
            Ok(lines)
        };
        let opt: &[u8] = if edns { &opt(&[]) } else { &[] };
        let ecs = opt_with_subnet();
        let label = "0".repeat(NXDOMAIN_LABEL);
        let random = |zone: &String| query(&format!("{label}.{zone} A"), opt);
        Ok(Questions {
            workload,
            fixed: lines("static.txt", Workload::Static)?
                .iter()
                .map(|line| query(line, opt))
                .collect::<Result<_, _>>()?,
            geo: lines("geo.txt", Workload::Geo)?.iter().map(|line| query(line, &ecs)).collect::<Result<_, _>>()?,
            networks: lines("ecs.txt", Workload::Geo)?.iter().map(|line| network(line)).collect::<Result<_, _>>()?,
            nxdomain: lines("zone.txt", Workload::Nxdomain)?.first().map_or(Ok(Vec::new()), random)?,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        })
    }

    /// The next question, with this ID, into `packet`; its length in octets.
    pub fn next(&mut self, id: u16, packet: &mut [u8]) -> usize {
        let workload = match self.workload {
            Workload::Mixed => self.draw_kind(),
            one => one,
        };
        let dice = self.draw();
        let length = match workload {
            Workload::Geo => {
                let question = &self.geo[(dice >> 32) as usize % self.geo.len()];
                let network = self.networks[(dice & 0xffff_ffff) as usize % self.networks.len()];
                packet[..question.len()].copy_from_slice(question);
                packet[question.len()..question.len() + 3].copy_from_slice(&network);
                question.len() + 3
            }
            Workload::Nxdomain => {
                packet[..self.nxdomain.len()].copy_from_slice(&self.nxdomain);
                for at in 0..NXDOMAIN_LABEL {
                    packet[13 + at] = b"0123456789abcdef"[(dice >> (4 * at)) as usize & 15];
                }
                self.nxdomain.len()
            }
            Workload::Static | Workload::Mixed => {
                let question = &self.fixed[(dice >> 32) as usize % self.fixed.len()];
                packet[..question.len()].copy_from_slice(question);
                question.len()
            }
        };
        packet[..2].copy_from_slice(&id.to_be_bytes());
        length
    }

    fn draw_kind(&mut self) -> Workload {
        let mut left = (self.draw() >> 32) % 100;
        for (kind, share) in MIXED {
            if left < share {
                return kind;
            }
            left -= share;
        }
        Workload::Static
    }

    /// xorshift64*, by Vigna.
    fn draw(&mut self) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A query for a line "name type", with `additional` (an OPT record or nothing) at its end.
fn query(line: &str, additional: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || format!("\"{line}\" is not a name and a type");
    let (name, kind) = line.split_once(' ').ok_or_else(wrong)?;
    let kind: u16 = match kind {
        "A" => 1,
        "NS" => 2,
        "CNAME" => 5,
        "SOA" => 6,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        _ => return Err(wrong()),
    };
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!additional.is_empty())];
    for label in name.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(wrong());
        }
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(additional);
    if packet.len() + 3 > crate::load::QUERY_OCTETS_MAX {
        return Err(format!("\"{line}\" is too long"));
    }
    Ok(packet)
}

/// RFC 6891 section 6.1.2.
fn opt(options: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0, 41];
    record.extend(UDP_SIZE.to_be_bytes());
    record.extend([0; 4]);
    record.extend((options.len() as u16).to_be_bytes());
    record.extend(options);
    record
}

/// An OPT with a Client Subnet option (RFC 7871 section 6), SOURCE 24, without the address's three octets.
fn opt_with_subnet() -> Vec<u8> {
    let mut record = opt(&[0, 8, 0, 7, 0, 1, 24, 0, 0, 0, 0]);
    record.truncate(record.len() - 3);
    record
}

/// "192.0.2.0/24" as its first three octets.
fn network(line: &str) -> Result<[u8; 3], String> {
    let wrong = || format!("\"{line}\" is not an IPv4 network with /24");
    let address = line.strip_suffix("/24").ok_or_else(wrong)?;
    let octets = address.parse::<std::net::Ipv4Addr>().map_err(|_| wrong())?.octets();
    Ok([octets[0], octets[1], octets[2]])
}
