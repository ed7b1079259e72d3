//! The system calls that safe Rust does not have: recvmmsg, sendmmsg, the taking over of descriptors, and what the
//! scheduler is asked for.
//!
//!     receive --> slots 0..n, each: query, client, room for the answer --> send
//!
//! The only module with `unsafe` in it. All memory that the kernel is shown belongs to one `Batch`, is made once and
//! never moves; Rust reads of it only what the kernel said it has written.
#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Messages taken or sent by one system call: more gain nothing that can be measured, and each waits for the others.
pub const BATCH: usize = 64;
/// Octets of a query; longer ones are cut and come out as FORMERR. Real ones stay below 600.
pub const QUERY_OCTETS_MAX: usize = 4096;

/// Three cache lines of distance: at multiples of 4096 the first lines of all the queries would compete for the same
/// eight places of the L1 cache.
const GAP_OCTETS: usize = 192;
/// Room for one PKTINFO (CMSG_SPACE of 12 or 20 octets) and no more.
const CONTROL_OCTETS: usize = 64;

/// A turn that this thread asks of the scheduler: the shortest that it grants.
const TURN_NANOSECONDS: u64 = 100_000;

/// What one message needs while the kernel reads or writes it.
#[repr(C, align(8))]
struct Slot {
    query: [u8; QUERY_OCTETS_MAX],
    name: libc::sockaddr_in6, // the larger one of the two that come here
    control: [u64; CONTROL_OCTETS / 8],
    vector: libc::iovec,
    gap: [u8; GAP_OCTETS],
}

/// A query that came, and where its answer goes.
pub struct Exchange<'batch> {
    /// The packet, cut at QUERY_OCTETS_MAX.
    pub query: &'batch [u8],
    /// Who asked, without port and scope.
    pub client: IpAddr,
    /// Cleared; what is left empty is not sent.
    pub answer: &'batch mut Vec<u8>,
}

/// Where the answer to a message goes that is not sent with its batch.
pub struct Envelope {
    name: libc::sockaddr_in6,
    name_octets: libc::socklen_t,
    control: [u64; CONTROL_OCTETS / 8],
    control_octets: usize,
}

impl Envelope {
    /// Send an answer there by the socket that the message came by.
    pub fn send(&self, socket: RawFd, answer: &[u8]) -> io::Result<()> {
        // SAFETY: msghdr is plain data, for which zeros are valid. sendmsg reads what the header points to: a name, one
        // vector and perhaps a control buffer, of the lengths that it says, all of which outlive the call; it writes to
        // none of them, although its types have no const.
        let sent = unsafe {
            let mut vector = libc::iovec { iov_base: answer.as_ptr().cast_mut().cast(), iov_len: answer.len() };
            let mut header: libc::msghdr = zeroed();
            header.msg_name = (&raw const self.name).cast_mut().cast();
            header.msg_namelen = self.name_octets;
            header.msg_iov = &raw mut vector;
            header.msg_iovlen = 1;
            if self.control_octets > 0 {
                header.msg_control = (&raw const self.control).cast_mut().cast();
                header.msg_controllen = self.control_octets;
            }
            libc::sendmsg(socket, &raw const header, 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Buffers and headers for up to BATCH messages. Not `Send`: it lives and dies in its thread.
pub struct Batch {
    slots: *mut [Slot],
    incoming: *mut [libc::mmsghdr],
    outgoing: *mut [libc::mmsghdr],
    vectors: *mut [libc::iovec],
    answers: Vec<Vec<u8>>,
    received: usize,
}

impl Batch {
    /// Room for BATCH messages; `with_source` for a wildcard socket, whose answers leave from the address asked.
    pub fn new(with_source: bool) -> Batch {
        // SAFETY: Slot, mmsghdr and iovec are plain data (integers, arrays, raw pointers) for which zeros are valid.
        let slots: Box<[Slot]> = (0..BATCH).map(|_| unsafe { zeroed() }).collect();
        let incoming: Box<[libc::mmsghdr]> = (0..BATCH).map(|_| unsafe { zeroed() }).collect();
        let outgoing: Box<[libc::mmsghdr]> = (0..BATCH).map(|_| unsafe { zeroed() }).collect();
        let vectors: Box<[libc::iovec]> = (0..BATCH).map(|_| unsafe { zeroed() }).collect();
        let batch = Batch {
            slots: Box::into_raw(slots),
            incoming: Box::into_raw(incoming),
            outgoing: Box::into_raw(outgoing),
            vectors: Box::into_raw(vectors),
            answers: (0..BATCH).map(|_| Vec::with_capacity(QUERY_OCTETS_MAX)).collect(),
            received: BATCH, // so that the first `receive` makes all the headers ready
        };
        for at in 0..BATCH {
            // SAFETY: `at` is within the four arrays, which live until `drop`, do not move, and to which there are no
            // references now.
            unsafe {
                let slot = batch.slot(at);
                (*slot).vector.iov_base = (&raw mut (*slot).query).cast();
                (*slot).vector.iov_len = QUERY_OCTETS_MAX;
                let header = &raw mut (*batch.header(at)).msg_hdr;
                (*header).msg_name = (&raw mut (*slot).name).cast();
                (*header).msg_iov = &raw mut (*slot).vector;
                (*header).msg_iovlen = 1;
                if with_source {
                    (*header).msg_control = (&raw mut (*slot).control).cast();
                }
            }
        }
        batch
    }

    /// Wait for a message, and take with it those that have come as well; how many.
    ///
    /// A socket that was shut down for reading and has nothing left gives one message without a client.
    pub fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        for at in 0..self.received {
            // SAFETY: `at` is within the array. What recvmmsg read of the former header as "room" it has replaced by
            // "used", so it is set anew; only headers that were used differ.
            unsafe {
                let header = &raw mut (*self.header(at)).msg_hdr;
                (*header).msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                (*header).msg_controllen = if (*header).msg_control.is_null() { 0 } else { CONTROL_OCTETS };
            }
        }
        self.received = 0;
        // SAFETY: BATCH headers, each with a name, a vector and perhaps a control buffer of the lengths that it says,
        // all of them owned by this batch, and to none of which there is a reference during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                self.incoming.cast(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        self.received = (count as usize).min(BATCH);
        Ok(self.received)
    }

    /// The message at `at`, of those received; None for one without a client, which says that the socket was shut down.
    pub fn exchange(&mut self, at: usize) -> Option<Exchange<'_>> {
        assert!(at < self.received);
        // SAFETY: `at` is within the arrays; the kernel has written this header, the name as far as msg_namelen says, and
        // msg_len octets of the query. The references end with the borrow of the batch, which every call needs whole.
        let (query, client) = unsafe {
            let header = &*self.header(at);
            let slot = self.slot(at);
            let length = (header.msg_len as usize).min(QUERY_OCTETS_MAX);
            let query = std::slice::from_raw_parts((&raw const (*slot).query).cast::<u8>(), length);
            (query, address(&(*slot).name, header.msg_hdr.msg_namelen))
        };
        let answer = &mut self.answers[at];
        answer.clear();
        client.map(|client| Exchange { query, client, answer })
    }

    /// The packet at `at` of those received.
    pub fn query(&self, at: usize) -> &[u8] {
        assert!(at < self.received);
        // SAFETY: as in `exchange`; the reference ends with the borrow of the batch, during which nothing is received.
        unsafe {
            let length = ((*self.header(at)).msg_len as usize).min(QUERY_OCTETS_MAX);
            std::slice::from_raw_parts((&raw const (*self.slot(at)).query).cast::<u8>(), length)
        }
    }

    /// The message at `at` of those received, where it came from, and what was answered.
    pub fn whole(&self, at: usize) -> Option<(&[u8], SocketAddr, &[u8])> {
        assert!(at < self.received);
        // SAFETY: as in `exchange`; the kernel has written this header, and the name as far as msg_namelen says.
        let (client, port) = unsafe {
            let header = &*self.header(at);
            let slot = self.slot(at);
            // The port stands at the same place in both kinds of names.
            (address(&(*slot).name, header.msg_hdr.msg_namelen), u16::from_be((*slot).name.sin6_port))
        };
        client.map(|client| (self.query(at), SocketAddr::new(client, port), self.answers[at].as_slice()))
    }

    /// Where the answer to the message at `at`, of those received, goes.
    pub fn envelope(&self, at: usize) -> Envelope {
        assert!(at < self.received);
        // SAFETY: as in `exchange`; the control buffer, where there is one, is that of the slot, of which the kernel says
        // how much it has filled.
        unsafe {
            let header = &(*self.header(at)).msg_hdr;
            let slot = self.slot(at);
            let has_source =
                !header.msg_control.is_null() && forget_interface(header.msg_control, header.msg_controllen);
            Envelope {
                name: (*slot).name,
                name_octets: header.msg_namelen,
                control: (*slot).control,
                control_octets: if has_source { header.msg_controllen.min(CONTROL_OCTETS) } else { 0 },
            }
        }
    }

    /// Send the answers that are not empty to where their queries came from; how many went, and how many could not.
    pub fn send(&mut self, socket: RawFd) -> (usize, usize) {
        let mut count = 0;
        for at in 0..self.received {
            let answer = &mut self.answers[at];
            if answer.is_empty() {
                continue;
            }
            // SAFETY: `count <= at < BATCH`, so both are within their arrays. The vector points to an answer that
            // nobody changes before sendmmsg has returned; the name and the control buffer are those that the kernel
            // has filled for this query.
            unsafe {
                let vector = self.vectors.cast::<libc::iovec>().add(count);
                *vector = libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() };
                let came = &raw const (*self.header(at)).msg_hdr;
                let goes = &raw mut (*self.outgoing.cast::<libc::mmsghdr>().add(count)).msg_hdr;
                (*goes).msg_name = (*came).msg_name;
                (*goes).msg_namelen = (*came).msg_namelen;
                (*goes).msg_iov = vector;
                (*goes).msg_iovlen = 1;
                let has_source =
                    !(*came).msg_control.is_null() && forget_interface((*came).msg_control, (*came).msg_controllen);
                (*goes).msg_control = if has_source { (*came).msg_control } else { std::ptr::null_mut() };
                (*goes).msg_controllen = if has_source { (*came).msg_controllen } else { 0 };
            }
            count += 1;
        }
        self.send_all(socket, count)
    }

    /// sendmmsg until all of the first `count` have gone, or were refused one by one.
    fn send_all(&mut self, socket: RawFd, count: usize) -> (usize, usize) {
        let (mut at, mut refused) = (0, 0);
        while at < count {
            // SAFETY: the headers from `at` to `count` were filled by `send`, and all that they point to is alive.
            let sent = unsafe {
                let first = self.outgoing.cast::<libc::mmsghdr>().add(at);
                libc::sendmmsg(socket, first, (count - at) as libc::c_uint, 0)
            };
            if sent > 0 {
                at += sent as usize;
            } else if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                // The first one was not taken: no route, a firewall, a forged port 0. It is lost, those behind it go on.
                at += 1;
                refused += 1;
            }
        }
        (count - refused, refused)
    }

    /// The slot at `at`, which is below BATCH.
    fn slot(&self, at: usize) -> *mut Slot {
        debug_assert!(at < BATCH);
        self.slots.cast::<Slot>().wrapping_add(at)
    }

    /// The header that is received into at `at`, which is below BATCH.
    fn header(&self, at: usize) -> *mut libc::mmsghdr {
        debug_assert!(at < BATCH);
        self.incoming.cast::<libc::mmsghdr>().wrapping_add(at)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: the four come from Box::into_raw in `new`, and nothing else has freed them.
        unsafe {
            drop(Box::from_raw(self.slots));
            drop(Box::from_raw(self.incoming));
            drop(Box::from_raw(self.outgoing));
            drop(Box::from_raw(self.vectors));
        }
    }
}

/// The address in what the kernel wrote as a message's name; None if it wrote none.
fn address(name: &libc::sockaddr_in6, octets: libc::socklen_t) -> Option<IpAddr> {
    let octets = octets as usize;
    match libc::c_int::from(name.sin6_family) {
        libc::AF_INET if octets >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the kernel wrote a sockaddr_in there, which is shorter than a sockaddr_in6 and no more strictly
            // aligned.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr))))
        }
        libc::AF_INET6 if octets >= size_of::<libc::sockaddr_in6>() => {
            Some(IpAddr::V6(Ipv6Addr::from(name.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

/// Turn a received PKTINFO into one to send: the address asked stays, the interface is left to routing, as a query and
/// its answer may well take different ways. False if it is something else.
///
/// # Safety
/// `control` points to a buffer of CONTROL_OCTETS, aligned to 8, of which the kernel has filled `octets`.
unsafe fn forget_interface(control: *mut libc::c_void, octets: usize) -> bool {
    const DATA_AT: usize = size_of::<libc::cmsghdr>(); // CMSG_DATA on Linux: aligned to 8, as cmsghdr is
    if octets < DATA_AT {
        return false;
    }
    // SAFETY: as the caller promises; `octets` was compared with what is read and written.
    unsafe {
        let header = &*control.cast::<libc::cmsghdr>();
        let data = control.cast::<u8>().add(DATA_AT);
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if octets >= DATA_AT + size_of::<libc::in_pktinfo>() => {
                data.add(offset_of!(libc::in_pktinfo, ipi_ifindex)).cast::<libc::c_int>().write_unaligned(0);
                true
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if octets >= DATA_AT + size_of::<libc::in6_pktinfo>() => {
                data.add(offset_of!(libc::in6_pktinfo, ipi6_ifindex)).cast::<libc::c_int>().write_unaligned(0);
                true
            }
            _ => false,
        }
    }
}

/// A descriptor of our own for what another one, of Python's, refers to.
pub fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is not -1, and is borrowed for this one call, which finds out whether it is open.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
}

/// Let no more be received: whoever waits wakes up, and an empty queue reads as the end.
pub fn shut_down_reading(socket: &impl AsRawFd) {
    // SAFETY: the descriptor is open as long as it is borrowed. A UDP socket says ENOTCONN, and does it all the same.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) };
}

/// Have memory bring an item into the cache, if there is such an item, without waiting for it.
pub fn prefetch<T>(items: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(item) = items.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it reads nothing and faults nowhere; and the pointer is to an item.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, at);
}

/// Let this thread, when a query wakes it, take the core at once from whatever has longer turns: checks that are made,
/// a loader. Its share of the core stays the same. sched_setattr(2): a Linux before 6.12 does not look at it.
pub fn ask_for_short_turns() {
    // SAFETY: sched_attr is plain data, for which zeros are valid.
    let mut attributes: libc::sched_attr = unsafe { zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_policy = libc::SCHED_OTHER as u32;
    // SAFETY: getpriority has no pointers.
    attributes.sched_nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }; // as it was
    attributes.sched_runtime = TURN_NANOSECONDS;
    // SAFETY: the pointer is to attributes of the size that they say. A refusal changes nothing.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
