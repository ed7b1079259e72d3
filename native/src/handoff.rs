//! What the sockets leave to services in Python: other opcodes than QUERY, zone transfers, the CHAOS class.
//!
//!     thread --Handed--> queue of WAITING_MAX --take--> Python --reply--> the socket, or the thread of the connection
//!
//! Nobody waits for the queue: what finds it full is answered SERVFAIL by the thread that read it.

use crate::batch::Envelope;
use crate::tcp::{Gate, Token};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Queries that wait for Python: 20 milliseconds of its time.
pub const WAITING_MAX: usize = 256;

/// The way back.
pub enum Way {
    /// The socket that it came by, and the address.
    Datagram(Arc<UdpSocket>, Envelope),
    /// The connection, which answers nothing else before.
    Stream(Arc<Gate>, Token),
}

/// A query, and the way back to who asked. One over TCP that is dropped without a reply ends its connection, as
/// everything does that gets no answer there.
pub struct Handed {
    /// As it came.
    pub packet: Vec<u8>,
    /// Who asked.
    pub client: SocketAddr,
    /// Unix time in nanoseconds.
    pub received: u64,
    way: Option<Way>,
}

impl Handed {
    /// A query of now.
    pub fn new(packet: &[u8], client: SocketAddr, received: u64, way: Way) -> Handed {
        Handed { packet: packet.to_vec(), client, received, way: Some(way) }
    }

    /// Whether it came over TCP.
    pub fn is_stream(&self) -> bool {
        matches!(self.way, Some(Way::Stream(..)))
    }

    /// Send a reply.
    pub fn reply(mut self, octets: Vec<u8>) -> io::Result<()> {
        match self.way.take() {
            Some(Way::Datagram(socket, envelope)) => envelope.send(socket.as_raw_fd(), &octets),
            Some(Way::Stream(gate, token)) => {
                gate.deliver(token, Some(octets));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(Way::Stream(gate, token)) = self.way.take() {
            gate.deliver(token, None);
        }
    }
}

/// The end of the queue that threads have.
pub type Handing = SyncSender<Handed>;

/// The end of the queue that Python has.
pub struct Waiting(Mutex<Receiver<Handed>>);

/// A queue.
pub fn queue() -> (Handing, Waiting) {
    let (handing, waiting) = sync_channel(WAITING_MAX);
    (handing, Waiting(Mutex::new(waiting)))
}

impl Waiting {
    /// The next one, waiting until there is one; None when all threads have ended and nothing is left.
    pub fn take(&self) -> Option<Handed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}
