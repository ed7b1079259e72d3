//! What a zone answers, rendered as far as it can be known before a query comes: `geodns/table/shape.py`, in arrays.
//!
//!     Zone.nodes[..].plans -> Zone.plans[..] (flags, body, choice) -> Zone.octets[..]
//!
//! Objects are numbers into the arrays of their zone, so that a zone is a few allocations however many names it has.
//! All of it is immutable once made.

use std::ops::Range;

use crate::steer::Steer;

/// RFC 1035 section 4.1.1.
pub const FLAG_AA: u16 = 0x0400;

/// A run of items in one of a zone's arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first item's index.
    pub start: u32,
    /// How many they are.
    pub len: u32,
}

impl Span {
    /// The indices.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// The items, of the array that they are in.
    pub fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.range()]
    }

    /// True for no items.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// What a lookup came to, in the words of RFC 1034 section 4.3.2 and RFC 2308.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The records asked for.
    Hit,
    /// The name exists, and has none of the type.
    Nodata,
    /// The name does not exist.
    Nxdomain,
    /// The name is another server's.
    Referral,
}

/// Records in wire form. Every run of offsets is one of `Zone.offsets`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body {
    /// In `Zone.octets`.
    pub data: Span,
    /// Records in the answer section.
    pub ancount: u16,
    /// Records in the authority section.
    pub nscount: u16,
    /// Records in the additional section.
    pub arcount: u16,
    /// Octets of the name in the question that the data were laid out for.
    pub base: u16,
    /// Pointers that move with the question's name.
    pub pointers: Span,
    /// Pointers to the question's name.
    pub owners: Span,
    /// The TTLs that health may lower.
    pub ttls: Span,
    /// In `Zone.cuts`: the shorter forms that may be sent, longest first.
    pub cuts: Span,
}

/// A shorter form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Octets of data that are left.
    pub octets: u32,
    /// Additional records that are left.
    pub arcount: u32,
}

/// A plan's number in `Zone.plans`.
pub type PlanAt = u32;

/// An answer: the flags (AA and rcode), the records, and then perhaps a choice that adds more. It is one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Plan {
    /// The records.
    pub body: Body,
    /// In `Zone.choices`; NO_CHOICE for none.
    pub choice: u32,
    /// AA and rcode.
    pub flags: u16,
    /// What the lookup came to.
    pub outcome: Outcome,
}

/// `Plan.choice` of a plan that ends with its records.
pub const NO_CHOICE: u32 = u32::MAX;

/// What one pool answers, by the index of its member.
#[derive(Clone, Debug)]
pub struct Alternative {
    /// With one member alone.
    pub plans: Vec<PlanAt>,
    /// That member's record and nothing else; none for a type that has one record only.
    pub records: Vec<Record>,
    /// The plan of all members.
    pub whole: Option<PlanAt>,
    /// What the pool's answers are counted as.
    pub number: u32,
}

/// A record that can stand beside others.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// In `Zone.bodies`.
    pub body: u32,
    /// The same for records of one choice whose octets are equal.
    pub class: u32,
}

/// One or several of `alternatives`, by where the client is and what is up.
#[derive(Clone, Debug)]
pub struct Choice {
    /// In `Zone.keys`, by which a snapshot has the partition.
    pub key: u32,
    /// In `Zone.steers`.
    pub steer: u32,
    /// One for each of the steer's pools.
    pub alternatives: Vec<Alternative>,
    /// The record's own values.
    pub default: PlanAt,
    /// The answer with none.
    pub nodata: PlanAt,
    /// What answers with no pool's values are counted as.
    pub number: u32,
}

/// A DNAME above the name asked for (RFC 6672). Names outside `apex` are not followed.
#[derive(Clone, Copy, Debug)]
pub struct Dname {
    /// Ends in a body that is one DNAME record.
    pub plan: PlanAt,
    /// Lower-case wire form, in `Zone.octets`.
    pub apex: Span,
}

/// What answers for names under a node that do not exist on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// NXDOMAIN.
    Nothing,
    /// A referral.
    Plan(PlanAt),
    /// In `Zone.dnames`.
    Dname(u32),
    /// In `Zone.nodes`: the wildcard.
    Node(u32),
}

/// An owner name, or an empty non-terminal.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Lower-case wire form, in `Zone.octets`; empty for a wildcard that stands in for the name.
    pub name: Span,
    /// In `Zone.typed`.
    pub plans: Span,
    /// For every type not among them.
    pub other: PlanAt,
    /// What answers for names beneath.
    pub below: Below,
}

/// One compiled zone.
#[derive(Debug, Default)]
pub struct Zone {
    /// Lower-case wire form.
    pub apex: Vec<u8>,
    /// What it is counted as.
    pub number: u32,
    /// All record data and names.
    pub octets: Vec<u8>,
    /// Of pointers and TTLs in a body's data.
    pub offsets: Vec<u32>,
    /// Of all bodies.
    pub cuts: Vec<Cut>,
    /// Of all nodes and choices.
    pub plans: Vec<Plan>,
    /// Records of alternatives.
    pub bodies: Vec<Body>,
    /// (type, plan) of all nodes.
    pub typed: Vec<(u16, PlanAt)>,
    /// Owner names first, in any order, then wildcards' stand-ins.
    pub nodes: Vec<Node>,
    /// How many of `nodes` are owner names.
    pub names: usize,
    /// DNAMEs that nodes have below them.
    pub dnames: Vec<Dname>,
    /// Of all plans.
    pub choices: Vec<Choice>,
    /// Of all choices.
    pub steers: Vec<Steer>,
    /// The keys of the partitions that choices need.
    pub keys: Vec<String>,
    /// For names that do not exist and have no wildcard.
    pub nxdomain: PlanAt,
}

impl Zone {
    /// A body's octets.
    pub fn data(&self, body: &Body) -> &[u8] {
        body.data.of(&self.octets)
    }

    /// A node's name.
    pub fn name(&self, node: u32) -> &[u8] {
        self.nodes[node as usize].name.of(&self.octets)
    }
}

const _: () = assert!(size_of::<Plan>() == 64);
