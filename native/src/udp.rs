//! UDP: a thread for each socket, which does nothing but receive, ask, and send, in batches.
//!
//!     recvmmsg -> [one snapshot] -> look ahead -> answer, answer, answer -> sendmmsg
//!
//! It blocks while nothing comes, and takes at once whatever came meanwhile: a busy server has large batches and few
//! system calls, an idle one answers the single query at once.

use crate::answer::Outcome;
use crate::batch::{BATCH, Batch, ask_for_short_turns, shut_down_reading};
use crate::handoff::{Handed, Way};
use crate::service::{Asking, Books, Common, Service, contain_panics, words};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Panics outside the engine after which a thread gives up: the server is then started anew by whoever watches it.
const PANICS_MAX: u32 = 100;
/// How often a thread that is to end is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// A header with no question behind it.
const NOTHING_ASKED: [u8; 12] = [0; 12];

/// A socket and the thread that serves it.
pub struct Udp {
    socket: Arc<UdpSocket>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Udp {
    /// Begin to serve; `with_source` for a wildcard socket with PKTINFO switched on.
    pub fn start<S: Service>(
        name: &str,
        socket: UdpSocket,
        with_source: bool,
        service: Arc<S>,
        books: Arc<Books>,
        common: Common,
    ) -> std::io::Result<Udp> {
        socket.set_nonblocking(false)?;
        let socket = Arc::new(socket);
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = Worker { socket: socket.clone(), with_source, stopping: stopping.clone(), books, common };
        let thread = Builder::new().name(format!("udp {name}")).spawn(move || worker.run(&*service))?;
        Ok(Udp { socket, stopping, thread })
    }

    /// False once the thread has ended, which only `stop` or the loss of the socket brings about.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Let the thread end when it has answered what its socket has queued.
    pub fn shut_down(&self) {
        shut_down_reading(&*self.socket);
    }

    /// Let the thread end after the batch that is under way. What the socket has queued stays there: another process
    /// reads from it as well. A thread that waits for a query ends with the next one, such as `wake` sends.
    pub fn leave(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Send the socket a query without a question, the shortest that gets an answer. Of several sockets of one
    /// address it finds this one in time: each call is from another port.
    pub fn wake(&self) {
        let Ok(mut address) = self.socket.local_addr() else { return };
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let from: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if let Ok(waking) = UdpSocket::bind((from, 0)) {
            let _ = waking.send_to(&NOTHING_ASKED, address);
        }
    }

    /// Wait until then, but not longer than until `deadline`: the batch that is under way is the last one then.
    pub fn join(self, deadline: Instant) {
        while self.is_alive() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        self.stopping.store(true, Ordering::Relaxed);
        while self.is_alive() {
            std::thread::sleep(LOOK); // a batch takes less than a millisecond
        }
        let _ = self.thread.join(); // its panics are contained
    }
}

struct Worker {
    socket: Arc<UdpSocket>,
    with_source: bool,
    stopping: Arc<AtomicBool>,
    books: Arc<Books>,
    common: Common,
}

impl Worker {
    fn run<S: Service>(&self, service: &S) {
        contain_panics();
        ask_for_short_turns();
        for _ in 0..PANICS_MAX {
            // AssertUnwindSafe: all that lasts longer than `serve` are counts and the socket.
            match catch_unwind(AssertUnwindSafe(|| self.serve(service))) {
                Ok(()) => return,
                Err(panic) => {
                    self.books.counters.panics.add(1);
                    self.common.failures.add(format!("a UDP thread failed and goes on: {}", words(panic.as_ref())));
                }
            }
        }
    }

    fn serve<S: Service>(&self, service: &S) {
        let socket = self.socket.as_raw_fd();
        let mut batch = Batch::new(self.with_source);
        let mut asking = Asking::<S>::new(&self.books, &self.common, false);
        while !self.stopping.load(Ordering::Relaxed) {
            let count = match batch.receive(socket) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.common.failures.add(format!("a UDP socket is gone: {error}"));
                    return;
                }
            };
            self.books.counters.batches.add(1);
            let mut is_over = false;
            asking.begin(service);
            asking.look_ahead(count.min(BATCH), |at| batch.query(at));
            for at in 0..count.min(BATCH) {
                match batch.exchange(at) {
                    Some(exchange) => {
                        if asking.ask(exchange.query, exchange.client, exchange.answer) == Outcome::HandOver {
                            self.hand_over(&mut batch, at, &mut asking);
                        }
                    }
                    None => is_over = true,
                }
            }
            asking.end();
            let (_, refused) = batch.send(socket);
            if refused > 0 {
                self.books.counters.send_errors.add(refused as u64);
            }
            asking.sent(|at| batch.whole(at));
            if is_over {
                return;
            }
        }
    }

    #[cold]
    fn hand_over<S: Service>(&self, batch: &mut Batch, at: usize, asking: &mut Asking<'_, S>) {
        let Some((query, client, _)) = batch.whole(at) else { return };
        let way = Way::Datagram(self.socket.clone(), batch.envelope(at));
        if self.common.handing.try_send(Handed::new(query, client, asking.received(), way)).is_ok() {
            asking.handed();
        } else if let Some(exchange) = batch.exchange(at) {
            asking.crowded(exchange.query, exchange.client, exchange.answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::{WAITING_MAX, Waiting};
    use crate::service::Failures;
    use crate::service::tests::{Echo, common};

    struct Running {
        udp: Udp,
        client: UdpSocket,
        books: Arc<Books>,
        failures: Arc<Failures>,
        waiting: Waiting,
    }

    fn running(host: &str) -> Running {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        let books = Arc::new(Books::default());
        let (common, waiting) = common();
        let failures = common.failures.clone();
        common.wanted.set(1);
        let client = UdpSocket::bind((host, 0)).unwrap();
        client.connect(socket.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let udp = Udp::start("test", socket, false, Arc::new(Echo), books.clone(), common).unwrap();
        Running { udp, client, books, failures, waiting }
    }

    impl Running {
        fn ask(&self, packet: &[u8]) -> Vec<u8> {
            self.client.send(packet).unwrap();
            let mut buffer = vec![0; 65535];
            let length = self.client.recv(&mut buffer).unwrap();
            buffer.truncate(length);
            buffer
        }

        fn stop(self) {
            self.udp.shut_down();
            self.udp.join(Instant::now() + Duration::from_secs(20));
        }
    }

    /// What comes is asked, what is answered goes back; more than a batch of it, and on both families.
    #[test]
    fn queries_are_answered() {
        for host in ["127.0.0.1", "::1"] {
            let running = running(host);
            for number in 0..3 * BATCH {
                running.client.send(&number.to_be_bytes()).unwrap();
            }
            let mut buffer = [0; 100];
            for number in 0..3 * BATCH {
                let length = running.client.recv(&mut buffer).unwrap();
                assert_eq!(number.to_be_bytes(), buffer[..length]);
            }
            running.stop();
        }
    }

    /// Silence, an empty packet, an answer that is too large and a panic cost themselves, and are counted.
    #[test]
    fn what_goes_wrong_costs_one_query() {
        let running = running("127.0.0.1");
        running.client.send(b"hush").unwrap();
        running.client.send(b"").unwrap();
        running.client.send(b"huge").unwrap();
        assert_eq!(b"servfail panic".to_vec(), running.ask(b"panic"));
        assert_eq!(b"next".to_vec(), running.ask(b"next"));
        let books = running.books.clone();
        assert!(running.udp.is_alive());
        assert_eq!(1, running.failures.take().len());
        running.stop();
        let counters = &books.counters;
        let counts = (counters.queries.get(), counters.silent.get(), counters.send_errors.get(), counters.panics.get());
        assert_eq!((5, 1, 1, 1), counts);
    }

    /// What is handed over is answered from where it was asked, after others that came later; what finds no room is
    /// answered SERVFAIL at once, and nobody waits.
    #[test]
    fn handed_over_is_answered_later() {
        for host in ["127.0.0.1", "::1"] {
            let running = running(host);
            for number in 0..WAITING_MAX {
                running.client.send(format!("over {number}").as_bytes()).unwrap();
                assert_eq!(b"next".to_vec(), running.ask(b"next"));
            }
            assert_eq!(b"servfail over".to_vec(), running.ask(b"over"));
            assert_eq!(b"next".to_vec(), running.ask(b"next"));
            let counters = &running.books.counters;
            assert_eq!((WAITING_MAX as u64 + 2, 1), (counters.queries.get(), counters.crowded.get()));
            for number in 0..WAITING_MAX {
                let handed = running.waiting.take().unwrap();
                assert_eq!(running.client.local_addr().unwrap(), handed.client);
                assert_eq!(format!("over {number}").as_bytes(), handed.packet);
                handed.reply(vec![1, 2, 3]).unwrap();
                let mut buffer = [0; 100];
                assert_eq!(3, running.client.recv(&mut buffer).unwrap());
            }
            running.client.send(b"over").unwrap();
            let last = running.waiting.take().unwrap();
            let waiting = std::thread::scope(|scope| {
                let waiting = &running.waiting;
                let over = scope.spawn(|| waiting.take().is_none());
                running.udp.shut_down();
                over.join().unwrap()
            });
            assert!(waiting, "without threads nothing more will come");
            last.reply(b"late".to_vec()).unwrap();
            let mut buffer = [0; 100];
            assert_eq!(4, running.client.recv(&mut buffer).unwrap());
        }
    }

    /// Queries that the socket has when the server is told to end are answered, and then the thread ends.
    #[test]
    fn stop_answers_what_is_queued() {
        for _ in 0..20 {
            let running = running("127.0.0.1");
            for number in 0..200_u32 {
                running.client.send(&number.to_be_bytes()).unwrap();
            }
            let client = running.client.try_clone().unwrap();
            running.stop();
            let mut buffer = [0; 100];
            for number in 0..200_u32 {
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(number.to_be_bytes(), buffer[..length]);
            }
        }
    }

    /// A thread that leaves ends although nobody asks, and what is asked then waits for whoever reads next.
    #[test]
    fn leaving_takes_nothing_along() {
        let running = running("127.0.0.1");
        let next = running.udp.socket.try_clone().unwrap();
        next.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        running.udp.leave();
        while running.udp.is_alive() {
            running.udp.wake();
            std::thread::sleep(LOOK);
        }
        running.client.send(b"after").unwrap();
        let mut buffer = [0; 100];
        let found = std::iter::repeat_with(|| next.recv(&mut buffer).map(|length| buffer[..length].to_vec()))
            .find(|found| found.as_ref().is_ok_and(|octets| *octets != NOTHING_ASKED));
        assert_eq!(b"after".to_vec(), found.unwrap().unwrap());
        running.udp.join(Instant::now());
    }

    /// Under a load that never ends, the deadline is the end.
    #[test]
    fn stop_does_not_wait_for_ever() {
        let running = running("127.0.0.1");
        let client = running.client.try_clone().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let load = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let _ = client.send(b"more");
            }
        });
        running.udp.shut_down();
        running.udp.join(Instant::now() + Duration::from_millis(50));
        is_over.store(true, Ordering::Relaxed);
        load.join().unwrap();
    }
}
