//! What is counted: a set for each thread, which it alone writes and anybody reads, without a lock.

use crate::rrl::Verdict;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread counts up. It may be some queries behind for those who read it.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Count `more`. A load and a store: as there is one writer, nothing can come between them, and neither locks the bus.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counts of one thread; aligned so that no two threads write to one cache line (or to a pair of them).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Packets or messages that came.
    pub queries: Count,
    /// Those that got no answer: what is no query.
    pub silent: Count,
    /// Answers with TC.
    pub truncated: Count,
    /// Answers that the system did not take: no route, a firewall, a forged port 0.
    pub send_errors: Count,
    /// Queries on which the engine panicked, answered SERVFAIL: each of them is a bug.
    pub panics: Count,
    /// Answers over UDP that rate limiting kept back, or would have if it did more than log.
    pub limited: Count,
    /// Answers over UDP in whose place rate limiting sent a short one, or would have.
    pub slipped: Count,
    /// Answers over UDP that rate limiting let pass for a cookie or by the list of the exempt.
    pub exempted: Count,
    /// Queries for Python that were answered SERVFAIL, because too many were waiting for it.
    pub crowded: Count,
    /// Calls that received at least one packet; queries / batches says how busy a thread is.
    pub batches: Count,
    /// TCP connections that were accepted.
    pub accepted: Count,
    /// TCP connections closed at once, for the limits.
    pub refused: Count,
    /// Idle TCP connections closed to make room.
    pub evicted: Count,
}

impl Counters {
    /// Count what rate limiting said.
    pub fn limited(&self, verdict: Verdict) {
        match verdict {
            Verdict::Send => {}
            Verdict::Exempt => self.exempted.add(1),
            Verdict::Slip => self.slipped.add(1),
            Verdict::Drop => self.limited.add(1),
        }
    }

    /// Count an answer, which has at least a header.
    pub fn answered(&self, answer: &[u8]) {
        if answer.get(2).is_some_and(|flags| flags & 2 != 0) {
            self.truncated.add(1);
        }
    }
}

/// The name of each count and its sum over the threads.
pub fn sums<'a>(all: impl Iterator<Item = &'a Counters> + Clone) -> Vec<(String, u64)> {
    type Field = fn(&Counters) -> &Count;
    let fields: [(&str, Field); 13] = [
        ("queries", |counters| &counters.queries),
        ("silent", |counters| &counters.silent),
        ("truncated", |counters| &counters.truncated),
        ("send_errors", |counters| &counters.send_errors),
        ("panics", |counters| &counters.panics),
        ("limited", |counters| &counters.limited),
        ("slipped", |counters| &counters.slipped),
        ("exempted", |counters| &counters.exempted),
        ("crowded", |counters| &counters.crowded),
        ("batches", |counters| &counters.batches),
        ("accepted", |counters| &counters.accepted),
        ("refused", |counters| &counters.refused),
        ("evicted", |counters| &counters.evicted),
    ];
    let sum = |field: &Field| all.clone().map(|counters| field(counters).get()).sum();
    fields.iter().map(|(name, field)| ((*name).to_owned(), sum(field))).collect()
}
