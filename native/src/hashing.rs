//! Spreading clients by their subnets: `geodns/engine/hashing.py`, in the same arithmetic of 64 bits.

/// "slowstar": apart from the same member's hash for its policy.
const SLOW_START: u64 = 0x736C_6F77_7374_6172;
/// A float has as many bits of precision.
const FRACTION: f64 = (1u64 << 53) as f64;

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014; variant 13 of Stafford's): 64 bits to 64.
pub fn mix64(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

/// Whether a share of all clients, in 2**-32, has this one.
pub fn is_in_share(subnet: u64, seed: u64, share: u64) -> bool {
    mix64(subnet ^ seed) >> 32 < share
}

/// Whether a value that is up for `elapsed` of its slow start of `duration` seconds is not yet for this client.
pub fn is_kept_back(subnet: u64, seed: u64, elapsed: i64, duration: i64) -> bool {
    (mix64(subnet ^ seed ^ SLOW_START) >> 11) as f64 >= elapsed as f64 / duration as f64 * FRACTION
}

/// The higher, the earlier this client is sent to a candidate; one of weight 0 comes last.
///
/// `log` is the C library's in both engines, so the last bit is the same.
pub fn score(subnet: u64, seed: u64, weight: u32) -> f64 {
    if weight == 0 {
        return f64::NEG_INFINITY;
    }
    (((mix64(subnet ^ seed) >> 11) as f64 + 0.5) / FRACTION).ln() / f64::from(weight)
}
