//! A connection, with as many questions on their way as it has slots (RFC 7766 section 6.2.1.1: pipelining).

use crate::load::{Pace, Port, Slots, Tally, QUERY_OCTETS_MAX};
use crate::questions::Questions;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

const READ_OCTETS: usize = 64 << 10;

pub struct TcpPort {
    stream: TcpStream,
    slots: Slots,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    read: Vec<u8>,
}

impl TcpPort {
    pub fn open(target: SocketAddr, slots: usize) -> Result<TcpPort, String> {
        let stream = connect(target)?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        Ok(TcpPort {
            stream,
            slots: Slots::new(slots),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            read: vec![0; READ_OCTETS],
        })
    }

    /// Write what waits, as far as the socket takes it.
    fn flush(&mut self) -> Result<(), String> {
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("a connection ended: {error}")),
            }
        }
        self.outgoing.drain(..sent);
        Ok(())
    }
}

impl Port for TcpPort {
    fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn send(&mut self, questions: &mut Questions, count: usize, pace: &mut Pace) -> Result<usize, String> {
        let mut packet = [0; QUERY_OCTETS_MAX];
        for at in 0..count {
            let length = questions.next(self.slots.id(at), &mut packet);
            self.outgoing.extend((length as u16).to_be_bytes());
            self.outgoing.extend(&packet[..length]);
        }
        let now = Instant::now();
        self.flush()?;
        self.slots.sent(count, now, pace);
        Ok(count)
    }

    fn receive(&mut self, tally: &mut Tally) -> Result<bool, String> {
        self.flush()?;
        let count = match self.stream.read(&mut self.read) {
            Ok(0) => return Err("the server closed a connection".to_string()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
            Err(error) => return Err(format!("a connection ended: {error}")),
        };
        let now = Instant::now();
        self.incoming.extend(&self.read[..count]);
        let mut at = 0;
        while let [high, low, rest @ ..] = &self.incoming[at..] {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(answer) = rest.get(..length) else { break };
            self.slots.answered(answer, now, tally);
            at += 2 + length;
        }
        self.incoming.drain(..at);
        Ok(at > 0)
    }
}

/// Connections that ask once, so that the server has met them, and then only stay.
pub fn idle(target: SocketAddr, count: usize, questions: &mut Questions) -> Result<Vec<TcpStream>, String> {
    let mut packet = [0; QUERY_OCTETS_MAX];
    (0..count)
        .map(|_| {
            let mut stream = connect(target)?;
            let length = questions.next(0, &mut packet);
            let mut answer = [0; 2];
            stream
                .write_all(&(length as u16).to_be_bytes())
                .and_then(|()| stream.write_all(&packet[..length]))
                .and_then(|()| stream.read_exact(&mut answer))
                .map_err(|error| format!("an idle connection: {error}"))?;
            Ok(stream)
        })
        .collect()
}

fn connect(target: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(target)
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|error| format!("{target}: {error}"))
}
