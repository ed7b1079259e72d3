//! The CHAOS class: who is this server? RFC 4892.

use crate::snapshot::Identity;
use crate::wire::TYPE_ANY;

const TYPE_TXT: u16 = 16;
const TEXT_OCTETS_MAX: usize = 255; // one character-string

/// Type, class and TTL of the TXT record, behind a pointer to the question's name.
const HEAD: &[u8; 10] = b"\xc0\x0c\0\x10\0\x03\0\0\0\0";

/// The one record that answers a question in class CHAOS.
#[derive(Debug)]
pub struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// Put it behind `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(HEAD);
        out.extend_from_slice(&(self.0.len() as u16 + 1).to_be_bytes());
        out.push(self.0.len() as u8);
        out.extend_from_slice(self.0);
    }
}

/// None: refused, as it is for what the operator left empty.
pub fn find<'a>(identity: &'a Identity, key: &[u8], qtype: u16) -> Option<Text<'a>> {
    let text = match key {
        b"\x02id\x06server\0" => &identity.server_id,
        b"\x08hostname\x04bind\0" => &identity.hostname,
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => &identity.version,
        _ => return None,
    };
    if text.is_empty() || (qtype != TYPE_TXT && qtype != TYPE_ANY) {
        return None;
    }
    Some(Text(&text[..text.len().min(TEXT_OCTETS_MAX)]))
}
