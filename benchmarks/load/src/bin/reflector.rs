//! The floor of every measurement: each packet goes back with its QR bit set.
//!
//!     reflector ADDRESS:PORT            recvfrom and sendto, a packet each
//!     reflector ADDRESS:PORT --batch    recvmmsg and sendmmsg, up to 64 packets each

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

const BATCH: usize = 64;
const PACKET_OCTETS_MAX: usize = 4096;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let target: Option<SocketAddr> = words.first().and_then(|word| word.parse().ok());
    let Some(target) = target.filter(|target| target.ip().is_loopback()) else {
        eprintln!("usage: reflector 127.0.0.1:PORT [--batch]");
        std::process::exit(2);
    };
    let socket = UdpSocket::bind(target)?;
    match words.get(1).map(String::as_str) {
        Some("--batch") => batches(&socket),
        _ => one_by_one(&socket),
    }
}

fn one_by_one(socket: &UdpSocket) -> std::io::Result<()> {
    let mut packet = [0; PACKET_OCTETS_MAX];
    loop {
        let (length, client) = socket.recv_from(&mut packet)?;
        if length >= 12 {
            packet[2] |= 0x80;
            let _ = socket.send_to(&packet[..length], client);
        }
    }
}

fn batches(socket: &UdpSocket) -> std::io::Result<()> {
    let fd = socket.as_raw_fd();
    let mut packets = vec![[0u8; PACKET_OCTETS_MAX]; BATCH];
    // SAFETY: both are plain memory for which zeros are valid.
    let mut clients = vec![unsafe { std::mem::zeroed::<libc::sockaddr_storage>() }; BATCH];
    let mut headers = vec![unsafe { std::mem::zeroed::<libc::mmsghdr>() }; BATCH];
    let mut vectors: Vec<libc::iovec> = packets
        .iter_mut()
        .map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: PACKET_OCTETS_MAX })
        .collect();
    for at in 0..BATCH {
        headers[at].msg_hdr.msg_iov = &mut vectors[at];
        headers[at].msg_hdr.msg_iovlen = 1;
        headers[at].msg_hdr.msg_name = std::ptr::from_mut(&mut clients[at]).cast();
    }
    loop {
        for at in 0..BATCH {
            headers[at].msg_hdr.msg_namelen = std::mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            vectors[at].iov_len = PACKET_OCTETS_MAX;
        }
        // SAFETY: BATCH headers, which point to buffers of the lengths they say; none of the vectors grows.
        let count = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, libc::MSG_WAITFORONE, std::ptr::null_mut())
        };
        if count < 0 {
            return Err(std::io::Error::last_os_error());
        }
        for at in 0..count as usize {
            vectors[at].iov_len = headers[at].msg_len as usize;
            // SAFETY: the vector's base is this packet's buffer, and the kernel has written to it.
            unsafe { *vectors[at].iov_base.cast::<u8>().add(2) |= 0x80 };
        }
        let mut sent = 0;
        while sent < count {
            // SAFETY: as above, for those not yet sent.
            let more = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr().add(sent as usize), (count - sent) as u32, 0) };
            if more < 0 {
                break;
            }
            sent += more;
        }
    }
}
