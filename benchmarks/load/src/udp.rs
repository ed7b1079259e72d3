//! A source port of its own, with sendmmsg and recvmmsg.

use crate::load::{Pace, Port, Slots, Tally, QUERY_OCTETS_MAX};
use crate::questions::Questions;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

const ANSWER_OCTETS_MAX: usize = 4096;
const SOCKET_BUFFER: libc::c_int = 1 << 21; // octets: a full window never overflows it

pub struct UdpPort {
    fd: RawFd,
    _socket: UdpSocket,
    slots: Slots,
    queries: Batch,
    answers: Batch,
}

impl UdpPort {
    pub fn open(target: SocketAddr, slots: usize) -> Result<UdpPort, String> {
        let socket = UdpSocket::bind((unspecified(target.ip()), 0))
            .and_then(|socket| socket.connect(target).and(socket.set_nonblocking(true)).map(|()| socket))
            .map_err(|error| format!("{target}: {error}"))?;
        let fd = socket.as_raw_fd();
        for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
            let size = std::mem::size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the pointer is to a c_int, as both options want. A refusal leaves the default, which works.
            unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, std::ptr::from_ref(&SOCKET_BUFFER).cast(), size) };
        }
        Ok(UdpPort {
            fd,
            _socket: socket,
            slots: Slots::new(slots),
            queries: Batch::new(slots, QUERY_OCTETS_MAX),
            answers: Batch::new(slots, ANSWER_OCTETS_MAX),
        })
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

impl Port for UdpPort {
    fn descriptor(&self) -> RawFd {
        self.fd
    }

    fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn send(&mut self, questions: &mut Questions, count: usize, pace: &mut Pace) -> Result<usize, String> {
        for at in 0..count {
            let length = questions.next(self.slots.id(at), self.queries.buffer(at));
            self.queries.set_length(at, length);
        }
        let now = Instant::now();
        let sent = self.queries.send(self.fd, count)?;
        self.slots.sent(sent, now, pace);
        Ok(sent)
    }

    fn receive(&mut self, tally: &mut Tally) -> Result<bool, String> {
        let count = self.answers.receive(self.fd)?;
        let now = Instant::now();
        for at in 0..count {
            self.slots.answered(self.answers.received(at), now, tally);
        }
        Ok(count > 0)
    }
}

/// Buffers and headers for one sendmmsg or recvmmsg. The headers point into the buffers, which never move.
struct Batch {
    buffers: Vec<u8>,
    size: usize,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Batch {
    fn new(count: usize, size: usize) -> Batch {
        let mut buffers = vec![0; count * size];
        let mut vectors: Vec<libc::iovec> = buffers
            .chunks_exact_mut(size)
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: size })
            .collect();
        let headers = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: mmsghdr is plain data for which zeros are valid.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Batch { buffers, size, vectors, headers }
    }

    fn buffer(&mut self, at: usize) -> &mut [u8] {
        &mut self.buffers[at * self.size..(at + 1) * self.size]
    }

    fn set_length(&mut self, at: usize, length: usize) {
        self.vectors[at].iov_len = length;
    }

    fn received(&self, at: usize) -> &[u8] {
        &self.buffers[at * self.size..at * self.size + self.headers[at].msg_len as usize]
    }

    fn send(&mut self, fd: RawFd, count: usize) -> Result<usize, String> {
        // SAFETY: `count` headers exist and point to vectors and buffers of this batch.
        let sent = unsafe { libc::sendmmsg(fd, self.headers.as_mut_ptr(), count as u32, 0) };
        counted(sent, "sendmmsg")
    }

    fn receive(&mut self, fd: RawFd) -> Result<usize, String> {
        let count = self.headers.len() as u32;
        // SAFETY: as in `send`; no time limit is given.
        let received =
            unsafe { libc::recvmmsg(fd, self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        counted(received, "recvmmsg")
    }
}

fn counted(result: libc::c_int, call: &str) -> Result<usize, String> {
    if result >= 0 {
        return Ok(result as usize);
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => Ok(0),
        Some(libc::ECONNREFUSED) => Err("nothing listens there".to_string()),
        _ => Err(format!("{call}: {error}")),
    }
}
