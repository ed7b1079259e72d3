//! Server cookies: RFC 7873, in the form that RFC 9018 fixes, so that ns1 and ns2 may share a secret.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::snapshot::SECRET_OCTETS;

const CLIENT_OCTETS: usize = 8;
/// Of a whole cookie that we made.
pub const COOKIE_OCTETS: usize = CLIENT_OCTETS + 16;
const HEAD_OCTETS: usize = COOKIE_OCTETS - 8; // all but the hash
const RENEW_SECONDS: i32 = 1800; // RFC 9018 section 4.3: a cookie older than half an hour is replaced
const PAST_SECONDS: i32 = 3600; // RFC 9018 section 4.3: valid for an hour,
const FUTURE_SECONDS: i32 = 300; // and for five minutes of clocks that disagree
const VERSION: u8 = 1;

/// A server's secret.
pub type Secret = [u8; SECRET_OCTETS];

/// The COOKIE option's data for the answer to a query that came with `cookie` (8 octets at least).
///
/// `client` is the address that asked; `now` is in Unix seconds; the first secret signs. A good and young server cookie
/// comes back as it is, anything else is answered with a new one. None without a secret.
pub fn cookie_for(cookie: &[u8], client: IpAddr, secrets: &[Secret], now: u64) -> Option<[u8; COOKIE_OCTETS]> {
    let first = secrets.first()?;
    if is_valid(cookie, client, secrets, now)
        && let Ok(whole) = <&[u8; COOKIE_OCTETS]>::try_from(cookie)
        && age(whole, now) < RENEW_SECONDS
    {
        return Some(*whole);
    }
    let mut head = [0; HEAD_OCTETS];
    head[..CLIENT_OCTETS].copy_from_slice(cookie.get(..CLIENT_OCTETS)?);
    head[CLIENT_OCTETS] = VERSION;
    head[12..].copy_from_slice(&(now as u32).to_be_bytes());
    Some(signed(&head, client, first))
}

/// True when we made the server's part of `cookie`, for this client, not too long ago.
pub fn is_valid(cookie: &[u8], client: IpAddr, secrets: &[Secret], now: u64) -> bool {
    let Ok(cookie) = <&[u8; COOKIE_OCTETS]>::try_from(cookie) else { return false };
    if !(-FUTURE_SECONDS..=PAST_SECONDS).contains(&age(cookie, now)) || cookie[CLIENT_OCTETS] != VERSION {
        return false;
    }
    // The reserved octets are hashed as they came: whoever made the cookie may have given them a meaning.
    secrets.iter().any(|secret| *cookie == signed(&cookie[..HEAD_OCTETS], client, secret))
}

/// RFC 9018 section 4.3: serial number arithmetic (RFC 1982), so that it works past 2106.
fn age(cookie: &[u8; COOKIE_OCTETS], now: u64) -> i32 {
    let made = u32::from_be_bytes([cookie[12], cookie[13], cookie[14], cookie[15]]);
    (now as u32).wrapping_sub(made) as i32
}

/// RFC 9018 section 4.4; the hash stands in the little-endian order of the SipHash reference code.
fn signed(head: &[u8], client: IpAddr, secret: &Secret) -> [u8; COOKIE_OCTETS] {
    let mut told = [0; HEAD_OCTETS + 16];
    told[..HEAD_OCTETS].copy_from_slice(head);
    let end = match client {
        IpAddr::V4(address) => {
            told[HEAD_OCTETS..HEAD_OCTETS + 4].copy_from_slice(&address.octets());
            HEAD_OCTETS + 4
        }
        IpAddr::V6(address) => {
            told[HEAD_OCTETS..].copy_from_slice(&address.octets());
            HEAD_OCTETS + 16
        }
    };
    let mut cookie = [0; COOKIE_OCTETS];
    cookie[..HEAD_OCTETS].copy_from_slice(head);
    let hash = SipHasher24::new_with_key(secret).hash(&told[..end]);
    cookie[HEAD_OCTETS..].copy_from_slice(&hash.to_le_bytes());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9018 appendix A.1 and A.2: a new cookie is the one that is written there, and comes back while it is young.
    #[test]
    fn the_examples_of_rfc_9018() {
        let secret = *b"\xe5\xe9\x73\xe5\xa6\xb2\xa4\x3f\x48\xe7\xdc\x84\x9e\x37\xbf\xcf";
        let client: IpAddr = "198.51.100.100".parse().unwrap();
        let ours = b"\x24\x64\xc4\xab\xcf\x10\xc9\x57";
        let whole = *b"\x24\x64\xc4\xab\xcf\x10\xc9\x57\x01\0\0\0\x5c\xf7\x9f\x11\x1f\x81\x30\xc3\xee\xe2\x94\x80";
        assert_eq!(Some(whole), cookie_for(ours, client, &[secret], 1_559_731_985));
        assert_eq!(Some(whole), cookie_for(&whole, client, &[secret], 1_559_731_985 + 1799));
        assert_ne!(Some(whole), cookie_for(&whole, client, &[secret], 1_559_731_985 + 1800));
    }
}
