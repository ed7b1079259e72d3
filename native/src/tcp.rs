//! TCP: RFC 7766; an epoll loop in each thread, pipelined queries answered in the order in which they came.
//!
//!     octets --split by length--> queries --ask--> answers with length --> socket
//!        ^                                                                   |
//!        +--- reading stops while the client does not read, or others have their turn --+
//!
//! Everything that a client can make us hold is bounded: its connections, the time they idle, the octets that wait in
//! either direction. When all connections are in use, the one that has been idle longest makes way for a new one. A
//! connection that waits for nothing has no buffers; it costs what this file's `Connection` takes.

use crate::answer::Outcome;
use crate::batch::{ask_for_short_turns, shut_down_reading};
use crate::handoff::{Handed, Way};
use crate::service::{Asking, Books, Common, Service, contain_panics, words};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// RFC 1035 section 4.2.2: the length of the message, before the message.
const LENGTH_OCTETS: usize = 2;
/// RFC 1035 section 4.1.1: nothing shorter is a message.
const HEADER_OCTETS: usize = 12;
/// Taken from a socket at a time: one message of the largest size.
const READ_OCTETS: usize = 64 << 10;
/// To let clients read what was answered, when the server ends.
pub const STOP: Duration = Duration::from_millis(500);
/// Between looks at the idle ones at most, so that a limit lowered by a reload holds soon.
const SWEEP: Duration = Duration::from_secs(1);
/// Accepted at a time, before those who are connected have their turn again.
const ACCEPTED_MAX: usize = 64;
/// Without a free descriptor and without a connection to close for one, until it is tried again.
const NO_DESCRIPTOR: Duration = Duration::from_millis(10);
/// Panics outside the engine after which a thread gives up.
const PANICS_MAX: u32 = 100;
/// Events taken by one call.
const EVENTS_MAX: usize = 256;

const WAKER: u64 = u64::MAX;
const FIRST_LISTENER: u64 = 1 << 63; // above every connection's token

/// The part of config.Limits that is about connections, in its units.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// Of one IPv4 address or IPv6 /64.
    pub connections_per_client: usize,
    /// Without a whole query.
    pub idle: Duration,
    /// Unread answers of a connection before its queries wait.
    pub write_buffer_octets: usize,
    /// Of one connection before the others have their turn.
    pub queries_per_turn: usize,
}

/// What the threads share: who may come in, and who has to go.
pub struct Gate {
    limits: RwLock<Limits>,
    taken: Mutex<Taken>,
    threads: Vec<Post>,
    began: Instant,
}

#[derive(Default)]
struct Taken {
    connections: usize,
    clients: HashMap<IpAddr, usize>,
}

/// Where one thread is told something by the others.
struct Post {
    waker: OwnedFd,
    is_stopping: AtomicBool,
    /// Since `drain` was called: how long clients are waited for.
    patience: OnceLock<Duration>,
    /// Since when the idlest connection of this thread idles, in microseconds since the start; u64::MAX: it has none.
    oldest: AtomicU64,
    evictions: AtomicUsize,
    /// What Python has said to queries of this thread's connections; None: nothing is said.
    replies: Mutex<Vec<(Token, Option<Vec<u8>>)>>,
}

impl Gate {
    fn new(limits: Limits, threads: usize) -> io::Result<Gate> {
        let post = || -> io::Result<Post> {
            let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Post {
                waker,
                is_stopping: AtomicBool::new(false),
                patience: OnceLock::new(),
                oldest: AtomicU64::new(u64::MAX),
                evictions: AtomicUsize::new(0),
                replies: Mutex::default(),
            })
        };
        Ok(Gate {
            limits: RwLock::new(limits),
            taken: Mutex::default(),
            threads: (0..threads).map(|_| post()).collect::<io::Result<_>>()?,
            began: Instant::now(),
        })
    }

    fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket for a connection of this client, unless it has too many; and whether there are too many of all.
    fn admit(self: &Arc<Gate>, client: IpAddr, limits: &Limits) -> Option<(Ticket, bool)> {
        let counted_as = counted_as(client);
        let mut taken = self.taken();
        let of_client = taken.clients.entry(counted_as).or_default();
        if *of_client >= limits.connections_per_client {
            return None;
        }
        *of_client += 1;
        taken.connections += 1;
        let is_over = taken.connections > limits.connections;
        Some((Ticket { gate: self.clone(), counted_as }, is_over))
    }

    /// The thread with the connection that has been idle longest.
    fn idlest(&self) -> Option<usize> {
        let idle = |post: &Post| post.oldest.load(Ordering::Relaxed);
        let (at, post) = self.threads.iter().enumerate().min_by_key(|(_, post)| idle(post))?;
        (idle(post) != u64::MAX).then_some(at)
    }

    /// Give a reply to the thread whose connection waits for it.
    pub fn deliver(&self, token: Token, reply: Option<Vec<u8>>) {
        let replies = &self.threads[token.thread()].replies;
        replies.lock().unwrap_or_else(PoisonError::into_inner).push((token, reply));
        self.wake(token.thread());
    }

    fn wake(&self, thread: usize) {
        let _ = rustix::io::write(&self.threads[thread].waker, &1_u64.to_ne_bytes());
    }
}

/// A connection that is counted, for as long as this lives.
struct Ticket {
    gate: Arc<Gate>,
    counted_as: IpAddr,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut taken = self.gate.taken();
        taken.connections -= 1;
        if let Some(of_client) = taken.clients.get_mut(&self.counted_as) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.clients.remove(&self.counted_as);
            }
        }
    }
}

/// The client as the limit per client sees it: an IPv4 address, or an IPv6 /64, which any one host commands.
fn counted_as(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// The threads that serve a set of listening sockets.
pub struct Tcp {
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<()>>,
}

impl Tcp {
    /// Begin to accept on every listener, with a thread for each set of counters.
    pub fn start<S: Service>(
        listeners: Vec<TcpListener>,
        limits: Limits,
        service: &Arc<S>,
        books: &[Arc<Books>],
        common: &Common,
    ) -> io::Result<Tcp> {
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let gate = Arc::new(Gate::new(limits, books.len())?);
        let listeners = Arc::new(listeners);
        let mut threads = Vec::new();
        for (index, books) in books.iter().enumerate() {
            let (gate, listeners, service) = (gate.clone(), listeners.clone(), service.clone());
            let (books, common) = (books.clone(), common.clone());
            let thread = Builder::new().name(format!("tcp {index}")).spawn(move || {
                run(index, &gate, &listeners, &*service, &books, &common);
            })?;
            threads.push(thread);
        }
        Ok(Tcp { gate, threads })
    }

    /// Go by other limits from now on.
    pub fn set_limits(&self, limits: Limits) {
        *self.gate.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.gate.taken().connections
    }

    /// False once a thread has ended without having been told to.
    pub fn is_alive(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Accept no more, answer what has arrived, and give clients until STOP to read it.
    pub fn shut_down(&self) {
        for (thread, post) in self.gate.threads.iter().enumerate() {
            post.is_stopping.store(true, Ordering::Release);
            self.gate.wake(thread);
        }
    }

    /// Accept no more, and end when the clients have gone, or after `patience`; another process accepts at the same door.
    pub fn drain(&self, patience: Duration) {
        for (thread, post) in self.gate.threads.iter().enumerate() {
            let _ = post.patience.set(patience); // the first call counts
            self.gate.wake(thread);
        }
    }

    /// Wait for the end, which `shut_down` or `drain` has begun.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join(); // its panics are contained
        }
    }
}

fn run<S: Service>(
    index: usize,
    gate: &Arc<Gate>,
    listeners: &[TcpListener],
    service: &S,
    books: &Books,
    common: &Common,
) {
    contain_panics();
    ask_for_short_turns();
    for _ in 0..PANICS_MAX {
        // AssertUnwindSafe: the connections are gone after a panic, and with them their tickets; the rest are counts.
        let served = catch_unwind(AssertUnwindSafe(|| {
            Worker::new(index, gate, listeners, books, common).and_then(|mut worker| worker.serve(service))
        }));
        match served {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return common.failures.add(format!("a TCP thread can not go on: {error}")),
            Err(panic) => {
                books.counters.panics.add(1);
                common.failures.add(format!("a TCP thread failed and goes on: {}", words(panic.as_ref())));
            }
        }
    }
}

/// One client's connection. Idle means: no whole query, and no reading by the client, for a while.
///
/// Octets that trickle in do not count, or a client could hold a connection for ever with one octet a second.
struct Connection {
    stream: TcpStream,
    _ticket: Ticket,
    client: SocketAddr,
    /// What came and is not answered yet: less than a read and a message.
    incoming: Vec<u8>,
    /// What was answered and the socket has not taken yet, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    idle_since: u64,
    interest: EventFlags,
    /// The client does not read its answers, so we do not read its queries.
    is_held: bool,
    /// A query of it is with Python, and those behind it wait.
    is_waiting: bool,
    /// It has whole queries left, and waits for its turn.
    has_turn: bool,
    /// The client has sent all it will, or all that we take.
    is_at_end: bool,
    /// Nothing more is answered: it is closed when everything has been sent.
    is_closing: bool,
}

impl Connection {
    /// Its queries wait for something else than the client's next octets.
    fn is_busy(&self) -> bool {
        self.is_held || self.is_waiting || self.has_turn
    }

    fn waiting(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Send as much of what waits, and then of `more`, as the socket takes.
    fn send(&mut self, mut more: &[u8]) -> io::Result<()> {
        while self.waiting() > 0 {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.waiting() == 0 {
            self.outgoing = Vec::new();
            self.sent = 0;
            while !more.is_empty() {
                match self.stream.write(more) {
                    Ok(count) => more = &more[count..],
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        } else if self.sent > self.outgoing.len() / 2 {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        self.outgoing.extend_from_slice(more);
        Ok(())
    }
}

/// How far the queries of one connection were answered in one turn.
struct Turn {
    consumed: usize,
    answered: usize,
    is_dns: bool,
    has_more: bool,
    is_handed: bool,
}

struct Worker<'a, S: Service> {
    index: usize,
    gate: &'a Arc<Gate>,
    listeners: &'a [TcpListener],
    books: &'a Books,
    common: &'a Common,
    asking: Asking<'a, S>,
    epoll: OwnedFd,
    limits: Limits,
    now: u64,
    connections: Table,
    turns: VecDeque<Token>,
    read: Vec<u8>,
    answer: Vec<u8>,
    answers: Vec<u8>,
    drain_until: Option<Instant>,
    stop_at: Option<Instant>,
}

impl<'a, S: Service> Worker<'a, S> {
    fn new(
        index: usize,
        gate: &'a Arc<Gate>,
        listeners: &'a [TcpListener],
        books: &'a Books,
        common: &'a Common,
    ) -> io::Result<Worker<'a, S>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &gate.threads[index].waker, EventData::new_u64(WAKER), EventFlags::IN)?;
        for (at, listener) in listeners.iter().enumerate() {
            // EXCLUSIVE: a new connection wakes one thread, not all of them.
            let data = EventData::new_u64(FIRST_LISTENER + at as u64);
            epoll::add(&epoll, listener, data, EventFlags::IN | EventFlags::EXCLUSIVE)?;
        }
        Ok(Worker {
            index,
            gate,
            listeners,
            books,
            common,
            asking: Asking::new(books, common, true),
            epoll,
            limits: gate.limits(),
            now: 0,
            connections: Table::new(index),
            turns: VecDeque::new(),
            read: vec![0; READ_OCTETS],
            answer: Vec::new(),
            answers: Vec::new(),
            drain_until: None,
            stop_at: None,
        })
    }

    fn serve(&mut self, service: &S) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.post_oldest();
            let wait = self.wait();
            let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.look_at_clock();
            self.limits = self.gate.limits();
            self.asking.begin(service);
            // Those who came with a turn left have it before those who come now: nobody is overtaken for ever.
            for _ in 0..self.turns.len() {
                if let Some(token) = self.turns.pop_front() {
                    self.take_turn(token);
                }
            }
            for event in &events {
                match event.data.u64() {
                    WAKER => self.heed(),
                    at if at >= FIRST_LISTENER => self.accept((at - FIRST_LISTENER) as usize),
                    token => self.happened(Token(token), event.flags),
                }
            }
            self.expire();
            self.asking.end();
            let is_time = |stop_at: Instant| self.connections.is_empty() || Instant::now() >= stop_at;
            if self.stop_at.is_some_and(is_time) {
                return Ok(());
            }
            if self.stop_at.is_none() && self.drain_until.is_some_and(is_time) {
                self.finish();
            }
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn wait(&self) -> Duration {
        if !self.turns.is_empty() {
            return Duration::ZERO;
        }
        let sweep = match self.connections.oldest_time() {
            u64::MAX => SWEEP,
            since => {
                let now = self.gate.began.elapsed().as_micros() as u64;
                let expires = since.saturating_add(self.limits.idle.as_micros() as u64);
                Duration::from_micros(expires.saturating_sub(now)).clamp(Duration::from_millis(1), SWEEP)
            }
        };
        match self.stop_at.or(self.drain_until) {
            Some(stop_at) => sweep.min(stop_at.saturating_duration_since(Instant::now())),
            None => sweep,
        }
    }

    /// Another thread, or the process, wants something.
    fn heed(&mut self) {
        let post = &self.gate.threads[self.index];
        let _ = rustix::io::read(&post.waker, &mut [0_u8; 8]);
        for _ in 0..post.evictions.swap(0, Ordering::Relaxed) {
            self.make_room(); // not evict(): what the other thread saw of us may have changed since
        }
        let replies = std::mem::take(&mut *post.replies.lock().unwrap_or_else(PoisonError::into_inner));
        for (token, reply) in replies {
            self.replied(token, reply.as_deref());
        }
        if let (Some(patience), None) = (post.patience.get(), self.drain_until) {
            self.drain_until = Some(Instant::now() + *patience);
            for listener in self.listeners {
                let _ = epoll::delete(&self.epoll, listener);
            }
        }
        if post.is_stopping.load(Ordering::Acquire) && self.stop_at.is_none() {
            self.finish();
        }
    }

    /// Take those who wait at the door, answer what has arrived, and wait only for what has to be sent.
    fn finish(&mut self) {
        self.stop_at = Some(Instant::now() + STOP);
        if self.drain_until.is_none() {
            for at in 0..self.listeners.len() {
                self.accept(at);
                shut_down_reading(&self.listeners[at]);
                let _ = epoll::delete(&self.epoll, &self.listeners[at]);
            }
        }
        for token in self.connections.tokens() {
            self.go_on(token);
        }
    }

    fn accept(&mut self, at: usize) {
        for _ in 0..ACCEPTED_MAX {
            match self.listeners[at].accept() {
                Ok((stream, peer)) => {
                    self.books.counters.accepted.add(1);
                    self.look_at_clock(); // it may have come after this pass began, and after others were answered
                    if self.admit(stream, peer).is_err() {
                        self.books.counters.refused.add(1);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                // Another thread has shut the listener down: this one will hear of the end as well.
                Err(error) if error.kind() == ErrorKind::InvalidInput => return,
                Err(_) => {
                    // No descriptor or no memory is left; a connection that is closed gives one back.
                    if !self.evict() {
                        std::thread::sleep(NO_DESCRIPTOR);
                    }
                    return;
                }
            }
        }
    }

    /// Count a new connection in, if the limits allow it; room is made by closing the longest idle.
    fn admit(&mut self, stream: TcpStream, client: SocketAddr) -> io::Result<()> {
        let Some((ticket, is_over)) = self.gate.admit(client.ip(), &self.limits) else {
            return Err(ErrorKind::QuotaExceeded.into());
        };
        if is_over {
            self.make_room();
        }
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let connection = Connection {
            stream,
            _ticket: ticket,
            client,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            idle_since: self.now,
            interest: EventFlags::IN,
            is_held: false,
            is_waiting: false,
            has_turn: false,
            is_at_end: false,
            is_closing: false,
        };
        let token = self.connections.add(connection);
        let stream = &self.connections.get(token).ok_or(ErrorKind::NotFound)?.stream;
        if let Err(error) = epoll::add(&self.epoll, stream, EventData::new_u64(token.0), EventFlags::IN) {
            self.connections.remove(token);
            return Err(error.into());
        }
        self.post_oldest();
        if self.stop_at.is_some() {
            self.go_on(token);
        }
        Ok(())
    }

    fn look_at_clock(&mut self) {
        self.now = self.gate.began.elapsed().as_micros() as u64;
    }

    /// Tell the other threads how long the idlest of ours has been idle. What they read is never newer than the truth.
    fn post_oldest(&self) {
        self.gate.threads[self.index].oldest.store(self.connections.oldest_time(), Ordering::Relaxed);
    }

    /// RFC 7766 section 6.2.3: a server may close idle connections at will when it runs short of resources.
    fn make_room(&mut self) {
        self.post_oldest();
        match self.gate.idlest() {
            Some(thread) if thread != self.index => {
                self.gate.threads[thread].evictions.fetch_add(1, Ordering::Relaxed);
                self.gate.wake(thread);
            }
            _ => {
                self.evict();
            }
        }
    }

    fn evict(&mut self) -> bool {
        let oldest = self.connections.oldest();
        if let Some(token) = oldest {
            self.connections.remove(token);
            self.books.counters.evicted.add(1);
        }
        oldest.is_some()
    }

    /// Close those that were idle for too long, whatever waits to be sent to them.
    fn expire(&mut self) {
        let idle = self.limits.idle.as_micros() as u64;
        while let Some(token) = self.connections.oldest() {
            if self.connections.oldest_time().saturating_add(idle) > self.now {
                return;
            }
            self.connections.remove(token);
        }
    }

    fn happened(&mut self, token: Token, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            // Reset, or closed in both directions: nobody is there to read an answer.
            self.connections.remove(token);
            return;
        }
        if flags.contains(EventFlags::OUT) {
            let was_held = connection.is_held;
            if connection.send(&[]).is_err() {
                self.connections.remove(token);
                return;
            }
            if was_held && connection.waiting() <= self.limits.write_buffer_octets {
                connection.is_held = false;
                self.connections.touch(token, self.now);
            }
            self.answer_incoming(token);
        }
        if flags.contains(EventFlags::IN) {
            self.receive(token);
        }
        self.go_on(token);
    }

    fn take_turn(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.has_turn = false;
            self.answer_incoming(token);
            self.go_on(token);
        }
    }

    /// Python has answered the query that this connection waits for; without an answer it ends.
    fn replied(&mut self, token: Token, reply: Option<&[u8]>) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        connection.is_waiting = false;
        let sent = match reply.and_then(|reply| Some((u16::try_from(reply.len()).ok()?, reply))) {
            Some((length, reply)) => connection.send(&[&length.to_be_bytes(), reply].concat()),
            None => Err(ErrorKind::InvalidData.into()),
        };
        if sent.is_err() {
            self.connections.remove(token);
            return;
        }
        connection.is_held = connection.waiting() > self.limits.write_buffer_octets;
        self.connections.touch(token, self.now);
        self.answer_incoming(token);
        self.go_on(token);
    }

    /// Read once, and answer what is whole. False when nothing came.
    fn receive(&mut self, token: Token) -> bool {
        let Some(connection) = self.connections.get_mut(token) else { return false };
        if connection.is_busy() || connection.is_at_end || connection.is_closing {
            return false;
        }
        let count = match connection.stream.read(&mut self.read) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                connection.is_at_end = self.stop_at.is_some(); // everything that we wait for is here
                return false;
            }
            Err(_) => {
                self.connections.remove(token);
                return false;
            }
        };
        if count == 0 {
            // The client may have closed its half only; what it asked is answered (RFC 7766 section 6.2.4).
            connection.is_at_end = true;
        } else if connection.incoming.is_empty() {
            let read = std::mem::take(&mut self.read);
            let consumed = self.answer(token, &read[..count]);
            if let Some(connection) = self.connections.get_mut(token).filter(|connection| !connection.is_closing) {
                connection.incoming.extend_from_slice(&read[consumed..count]);
            }
            self.read = read;
        } else {
            connection.incoming.extend_from_slice(&self.read[..count]);
            self.answer_incoming(token);
        }
        count > 0
    }

    /// Answer what came before and is whole.
    fn answer_incoming(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if connection.incoming.is_empty() || connection.is_busy() || connection.is_closing {
            return;
        }
        let mut incoming = std::mem::take(&mut connection.incoming);
        let consumed = self.answer(token, &incoming);
        if consumed == incoming.len() {
            return;
        }
        if let Some(connection) = self.connections.get_mut(token).filter(|connection| !connection.is_closing) {
            incoming.drain(..consumed);
            connection.incoming = incoming;
        }
    }

    /// Answer of these octets what this turn allows, and send it; how many octets are done with.
    fn answer(&mut self, token: Token, octets: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(token) else { return octets.len() };
        self.answers.clear();
        let room = self.limits.write_buffer_octets.saturating_sub(connection.waiting());
        let client = connection.client;
        let (gate, common, received) = (self.gate, self.common, self.asking.received());
        let turn = answer(
            &mut self.asking,
            client,
            octets,
            self.limits.queries_per_turn,
            room,
            &mut self.answer,
            &mut self.answers,
            |packet| {
                let way = Way::Stream(gate.clone(), token);
                common.handing.try_send(Handed::new(packet, client, received, way)).is_ok()
            },
        );
        if connection.send(&self.answers).is_err() {
            self.connections.remove(token);
            return octets.len();
        }
        connection.is_closing |= !turn.is_dns;
        connection.is_waiting = turn.is_handed;
        connection.is_held = connection.waiting() > self.limits.write_buffer_octets;
        if turn.has_more && !connection.is_held && turn.is_dns {
            connection.has_turn = true;
            self.turns.push_back(token);
        }
        if turn.answered > 0 || turn.is_handed {
            self.connections.touch(token, self.now);
        }
        turn.consumed
    }

    /// What comes next: wait for the client to read, for the others, for more, or close.
    fn go_on(&mut self, token: Token) {
        while self.stop_at.is_some() && self.receive(token) {}
        let Some(connection) = self.connections.get_mut(token) else { return };
        let is_done = connection.is_closing || (connection.is_at_end && !connection.is_busy());
        if is_done && connection.waiting() == 0 {
            self.connections.remove(token);
            return;
        }
        let is_reading = !(connection.is_busy() || connection.is_at_end || connection.is_closing);
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, is_reading);
        interest.set(EventFlags::OUT, connection.waiting() > 0);
        if interest != connection.interest {
            connection.interest = interest;
            if epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(token.0), interest).is_err() {
                self.connections.remove(token);
            }
        }
    }
}

/// Answer until no query is whole, `queries_max` are answered, more than `room` octets of answers were made, or a query
/// was handed over: `hand_over` does that, unless too many wait.
#[expect(clippy::too_many_arguments, reason = "two of them are buffers")]
fn answer<S: Service>(
    asking: &mut Asking<'_, S>,
    client: SocketAddr,
    octets: &[u8],
    queries_max: usize,
    room: usize,
    one: &mut Vec<u8>,
    answers: &mut Vec<u8>,
    hand_over: impl Fn(&[u8]) -> bool,
) -> Turn {
    let mut turn = Turn { consumed: 0, answered: 0, is_dns: true, has_more: false, is_handed: false };
    while let [high, low, rest @ ..] = &octets[turn.consumed..] {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let packet = rest.get(..length);
        if packet.is_none() && length >= HEADER_OCTETS {
            return turn; // not whole yet
        }
        if turn.answered == queries_max || answers.len() > room {
            turn.has_more = true;
            return turn;
        }
        // Not a query: this client does not speak DNS, or no longer keeps step with the lengths.
        let packet = packet.filter(|packet| packet.len() >= HEADER_OCTETS);
        let Some(packet) = packet else {
            turn.is_dns = false;
            return turn;
        };
        let mut outcome = asking.ask(packet, client.ip(), one);
        if outcome == Outcome::HandOver {
            if hand_over(packet) {
                asking.handed();
                turn.consumed += LENGTH_OCTETS + packet.len();
                turn.is_handed = true;
                return turn;
            }
            outcome = asking.crowded(packet, client.ip(), one);
        }
        if outcome != Outcome::Answered || one.len() > 65535 {
            turn.is_dns = false;
            return turn;
        }
        asking.sent(|_| Some((packet, client, one.as_slice())));
        answers.extend_from_slice(&(one.len() as u16).to_be_bytes());
        answers.extend_from_slice(one);
        turn.consumed += LENGTH_OCTETS + packet.len();
        turn.answered += 1;
    }
    turn
}

/// A connection's place in its thread's table, the thread, and above them how many the place had before: who comes late
/// finds nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(u64);

const PLACE_BITS: u32 = 32;
const THREAD_BITS: u32 = 10;
/// That share a gate.
pub const THREADS_MAX: usize = 1 << THREAD_BITS;
/// The topmost bit is that of listeners.
const GENERATION_BITS: u32 = 63 - THREAD_BITS - PLACE_BITS;

impl Token {
    fn new(place: usize, thread: usize, generation: u32) -> Token {
        let generation = u64::from(generation) & ((1 << GENERATION_BITS) - 1);
        Token(generation << (THREAD_BITS + PLACE_BITS) | (thread as u64) << PLACE_BITS | place as u64)
    }

    fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }

    fn thread(self) -> usize {
        (self.0 >> PLACE_BITS & ((1 << THREAD_BITS) - 1)) as usize
    }
}

const NOBODY: usize = usize::MAX;

/// The connections of a thread, in the order in which they did something useful: a list through the places.
struct Table {
    thread: usize,
    places: Vec<Place>,
    free: Vec<usize>,
    ends: Option<(usize, usize)>, // the oldest, the newest
}

struct Place {
    generation: u32,
    connection: Option<Connection>,
    older: usize,
    newer: usize,
}

impl Table {
    fn new(thread: usize) -> Table {
        Table { thread, places: Vec::new(), free: Vec::new(), ends: None }
    }

    fn add(&mut self, connection: Connection) -> Token {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, connection: None, older: NOBODY, newer: NOBODY });
            self.places.len() - 1
        });
        self.places[place].connection = Some(connection);
        self.link(place);
        self.token(place)
    }

    fn token(&self, place: usize) -> Token {
        Token::new(place, self.thread, self.places[place].generation)
    }

    fn get(&self, token: Token) -> Option<&Connection> {
        let place = self.places.get(token.place())?;
        if self.token(token.place()) != token {
            return None;
        }
        place.connection.as_ref()
    }

    fn get_mut(&mut self, token: Token) -> Option<&mut Connection> {
        self.get(token)?;
        self.places[token.place()].connection.as_mut()
    }

    /// Close the connection.
    fn remove(&mut self, token: Token) {
        if self.get(token).is_none() {
            return;
        }
        let place = token.place();
        self.unlink(place);
        self.places[place].connection = None;
        self.places[place].generation = self.places[place].generation.wrapping_add(1);
        self.free.push(place);
    }

    /// The connection did something useful.
    fn touch(&mut self, token: Token, now: u64) {
        if let Some(connection) = self.get_mut(token) {
            connection.idle_since = now;
            self.unlink(token.place());
            self.link(token.place());
        }
    }

    fn oldest(&self) -> Option<Token> {
        self.ends.map(|(oldest, _)| self.token(oldest))
    }

    /// Since when the oldest idles; u64::MAX if there is none.
    fn oldest_time(&self) -> u64 {
        self.oldest().and_then(|token| self.get(token)).map_or(u64::MAX, |connection| connection.idle_since)
    }

    fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    fn tokens(&self) -> Vec<Token> {
        let used = self.places.iter().enumerate().filter(|(_, place)| place.connection.is_some());
        used.map(|(at, _)| self.token(at)).collect()
    }

    fn link(&mut self, place: usize) {
        self.places[place].newer = NOBODY;
        self.places[place].older = self.ends.map_or(NOBODY, |(_, newest)| newest);
        if let Some((oldest, newest)) = self.ends {
            self.places[newest].newer = place;
            self.ends = Some((oldest, place));
        } else {
            self.ends = Some((place, place));
        }
    }

    fn unlink(&mut self, place: usize) {
        let (older, newer) = (self.places[place].older, self.places[place].newer);
        let Some((oldest, newest)) = self.ends else { return };
        if older != NOBODY {
            self.places[older].newer = newer;
        }
        if newer != NOBODY {
            self.places[newer].older = older;
        }
        let ends = (if place == oldest { newer } else { oldest }, if place == newest { older } else { newest });
        self.ends = (ends.0 != NOBODY).then_some(ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::{Echo, common};

    const LIMITS: Limits = Limits {
        connections: 20,
        connections_per_client: 1000,
        idle: Duration::from_secs(1000),
        write_buffer_octets: 1 << 16,
        queries_per_turn: 10,
    };

    fn ask(stream: &mut TcpStream, packet: &[u8]) -> io::Result<Vec<u8>> {
        send(stream, packet)?;
        receive(stream)
    }

    fn send(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
        stream.write_all(&(packet.len() as u16).to_be_bytes())?;
        stream.write_all(packet)
    }

    fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    /// A query that is handed over holds up those behind it in its connection, and nobody else; the answers come in the
    /// order of the queries. Whoever gets no reply is told so by the end of the connection, and one that has gone is no
    /// trouble.
    #[test]
    fn handed_over_is_answered_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let books: Vec<Arc<Books>> = (0..2).map(|_| Arc::new(Books::default())).collect();
        let (common, waiting) = common();
        let tcp = Tcp::start(vec![listener], LIMITS, &Arc::new(Echo), &books, &common).unwrap();
        drop(common);
        let mut client = TcpStream::connect(address).unwrap();
        let before_and_after: [&[u8]; 4] = [b"before before", b"over over over", b"between between", b"over and over"];
        before_and_after.iter().for_each(|packet| send(&mut client, packet).unwrap());
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(b"before before".to_vec(), receive(&mut client).unwrap());
        let handed = waiting.take().unwrap();
        assert!(handed.is_stream());
        assert_eq!((client.local_addr().unwrap(), b"over over over".as_slice()), (handed.client, &*handed.packet));
        let mut other = TcpStream::connect(address).unwrap();
        assert_eq!(b"hello, hello".to_vec(), ask(&mut other, b"hello, hello").unwrap());
        handed.reply(b"a reply".to_vec()).unwrap();
        assert_eq!(b"a reply".to_vec(), receive(&mut client).unwrap());
        assert_eq!(b"between between".to_vec(), receive(&mut client).unwrap());
        waiting.take().unwrap().reply(b"another".to_vec()).unwrap();
        assert_eq!(b"another".to_vec(), receive(&mut client).unwrap());
        assert_eq!(ErrorKind::UnexpectedEof, receive(&mut client).unwrap_err().kind());

        send(&mut other, b"over, no reply").unwrap();
        drop(waiting.take().unwrap());
        assert_eq!(ErrorKind::UnexpectedEof, receive(&mut other).unwrap_err().kind());

        let mut gone = TcpStream::connect(address).unwrap();
        send(&mut gone, b"over and away").unwrap();
        let handed = waiting.take().unwrap();
        drop(gone);
        handed.reply(b"nobody".to_vec()).unwrap();

        let mut last = TcpStream::connect(address).unwrap();
        send(&mut last, b"over at the end").unwrap();
        let handed = waiting.take().unwrap();
        tcp.shut_down();
        handed.reply(b"the last".to_vec()).unwrap();
        assert_eq!(b"the last".to_vec(), receive(&mut last).unwrap());
        drop(last);
        tcp.join();
        assert!(waiting.take().is_none());
    }

    /// Two threads behind one listener are one server to its clients: limits hold over both, and a panic in a query
    /// costs that query.
    #[test]
    fn limits_hold_over_all_threads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let books: Vec<Arc<Books>> = (0..2).map(|_| Arc::new(Books::default())).collect();
        let tcp = Tcp::start(vec![listener], LIMITS, &Arc::new(Echo), &books, &common().0).unwrap();
        let mut clients: Vec<TcpStream> = Vec::new();
        for number in 0..30 {
            clients.push(TcpStream::connect(address).unwrap());
            assert_eq!(b"hello, hello".to_vec(), ask(&mut clients[number], b"hello, hello").unwrap());
        }
        assert_eq!(b"servfail panic panic panic".to_vec(), ask(&mut clients[29], b"panic panic panic").unwrap());
        let until = Instant::now() + Duration::from_secs(20);
        while tcp.connections() > 20 && Instant::now() < until {
            std::thread::yield_now(); // one thread may still have to hear from the other whom to close
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(number >= 10, ask(client, b"hello, hello").is_ok(), "{number}");
        }
        assert_eq!(20, tcp.connections());
        assert_eq!(10, books.iter().map(|books| books.counters.evicted.get()).sum::<u64>());
        assert_eq!(1, books.iter().map(|books| books.counters.panics.get()).sum::<u64>());
        tcp.shut_down();
        tcp.join();
        assert!(TcpStream::connect(address).is_err());
    }
}
