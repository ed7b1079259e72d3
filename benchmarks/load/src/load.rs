//! The loop: fill each port's free slots, take what has come, give up what is late.

use crate::questions::Questions;
use crate::SLOTS_MAX;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

pub const QUERY_OCTETS_MAX: usize = 512;
const ANSWER_OCTETS_MAX: usize = 4096;
const SWEEP: Duration = Duration::from_millis(10); // how often late answers are looked for
const SOCKET_BUFFER: libc::c_int = 1 << 21; // octets: a full window never overflows it

pub struct Limits {
    pub count: u64,
    pub seconds: f64,
    pub window: usize,
    pub ports: usize,
    pub timeout: Duration,
}

#[derive(Default)]
pub struct Tally {
    pub sent: u64,
    pub seconds: f64,        // from the first question to the last answer
    pub latencies: Vec<u32>, // nanoseconds, one an answer
    pub rcodes: [u64; 16],
    pub truncated: u64,
    pub empty: u64, // answers without a record in the answer section
    pub octets: u64,
}

pub fn run(target: SocketAddr, limits: &Limits, questions: &mut Questions, spin: bool) -> Result<Tally, String> {
    let slots = limits.window / limits.ports;
    let mut ports: Vec<Port> = (0..limits.ports).map(|_| Port::open(target, slots)).collect::<Result<_, _>>()?;
    let mut polled: Vec<libc::pollfd> =
        ports.iter().map(|port| libc::pollfd { fd: port.fd, events: libc::POLLIN, revents: 0 }).collect();
    let mut tally = Tally::default();
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(limits.seconds);
    let (mut last, mut swept) = (start, start);
    loop {
        let now = Instant::now();
        let sending = now < end && tally.sent < limits.count;
        let mut waiting = 0;
        for port in &mut ports {
            if sending {
                let want = (limits.count - tally.sent).min(slots as u64) as usize;
                tally.sent += port.send(questions, want)? as u64;
            }
            waiting += slots - port.free.len();
        }
        if waiting == 0 && !sending {
            break;
        }
        if !spin {
            // SAFETY: the vector has as many entries as is said, and outlives the call.
            unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, SWEEP.as_millis() as libc::c_int) };
        }
        for port in &mut ports {
            if port.receive(&mut tally)? {
                last = Instant::now();
            }
        }
        if now - swept >= SWEEP {
            swept = now;
            for port in &mut ports {
                port.give_up(now, limits.timeout);
            }
        }
    }
    tally.seconds = (last - start).as_secs_f64().max(1e-9);
    Ok(tally)
}

/// A source port and its share of the window. A query's ID is its slot and, above it, the slot's generation.
struct Port {
    fd: RawFd,
    _socket: UdpSocket,
    free: Vec<u8>,
    sent_at: Vec<Option<Instant>>,
    generation: Vec<u8>,
    queries: Batch,
    answers: Batch,
}

impl Port {
    fn open(target: SocketAddr, slots: usize) -> Result<Port, String> {
        assert!(slots <= SLOTS_MAX);
        let here = if target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(here)
            .and_then(|socket| socket.connect(target).and(socket.set_nonblocking(true)).map(|()| socket))
            .map_err(|error| format!("{target}: {error}"))?;
        let fd = socket.as_raw_fd();
        for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
            let size = std::mem::size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the pointer is to a c_int, as both options want. A refusal leaves the default, which works.
            unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, std::ptr::from_ref(&SOCKET_BUFFER).cast(), size) };
        }
        Ok(Port {
            fd,
            _socket: socket,
            free: (0..slots).map(|slot| slot as u8).collect(),
            sent_at: vec![None; slots],
            generation: vec![0; slots],
            queries: Batch::new(slots, QUERY_OCTETS_MAX),
            answers: Batch::new(slots, ANSWER_OCTETS_MAX),
        })
    }

    /// Send a question for each free slot, `want` at most; how many went out.
    fn send(&mut self, questions: &mut Questions, want: usize) -> Result<usize, String> {
        let count = self.free.len().min(want);
        if count == 0 {
            return Ok(0);
        }
        let first = self.free.len() - count;
        for (at, &slot) in self.free[first..].iter().enumerate() {
            let id = u16::from_be_bytes([self.generation[slot as usize], slot]);
            let length = questions.next(id, self.queries.buffer(at));
            self.queries.set_length(at, length);
        }
        let now = Instant::now();
        let sent = self.queries.send(self.fd, count)?;
        for slot in self.free.drain(first..first + sent) {
            self.sent_at[slot as usize] = Some(now);
        }
        Ok(sent)
    }

    /// Take the answers that are there; whether there was one.
    fn receive(&mut self, tally: &mut Tally) -> Result<bool, String> {
        let count = self.answers.receive(self.fd)?;
        let now = Instant::now();
        for at in 0..count {
            let answer = self.answers.received(at);
            if answer.len() < 12 || answer[2] & 0x80 == 0 {
                continue; // not an answer
            }
            let (generation, slot) = (answer[0], answer[1] as usize);
            if slot >= self.sent_at.len() || self.generation[slot] != generation {
                continue; // late: it was counted as lost
            }
            let Some(sent_at) = self.sent_at[slot].take() else { continue };
            tally.latencies.push((now - sent_at).as_nanos().min(u128::from(u32::MAX)) as u32);
            tally.rcodes[usize::from(answer[3] & 15)] += 1;
            tally.truncated += u64::from(answer[2] & 2 != 0);
            tally.empty += u64::from(answer[6..8] == [0, 0]);
            tally.octets += answer.len() as u64;
            self.release(slot);
        }
        Ok(count > 0)
    }

    fn give_up(&mut self, now: Instant, timeout: Duration) {
        for slot in 0..self.sent_at.len() {
            if self.sent_at[slot].is_some_and(|sent_at| now.saturating_duration_since(sent_at) > timeout) {
                self.sent_at[slot] = None;
                self.release(slot);
            }
        }
    }

    fn release(&mut self, slot: usize) {
        self.generation[slot] = self.generation[slot].wrapping_add(1);
        self.free.push(slot as u8);
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
