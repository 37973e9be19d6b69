//! A channel of messages and descriptors between two processes.
//!
//! A `SOCK_SEQPACKET` socket pair: a packet is a message, so that there is no framing to lose, and
//! end-of-file tells either side of the other's death. Sizes are bounded; what does not parse is
//! an error of kind `InvalidData`, after which the caller gives up on the other side.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Largest packet, in bytes. A configuration travels as a descriptor, so the largest messages are
/// lists of warm-up paths, which the configuration limits, and texts, which `message` cuts.
pub const MAX_PACKET: usize = 64 * 1024;

/// Most descriptors beside one packet. The kernel's own limit is 253 (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 250;

/// One end of a channel. Needs a tokio runtime with I/O around it.
#[derive(Debug)]
pub struct Channel {
    // Sequenced packets, which the runtime need not know: it only waits and keeps the descriptor.
    socket: UnixDatagram,
}

impl Channel {
    /// Creates both ends: one for this process, and a descriptor for the other one.
    ///
    /// # Errors
    ///
    /// Those of `socketpair`, and of the registration with the runtime.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self::from_fd(ours)?, theirs))
    }

    /// Takes over an end that was inherited or received.
    ///
    /// # Errors
    ///
    /// Those of `fcntl`, and of the registration with the runtime.
    pub fn from_fd(socket: OwnedFd) -> io::Result<Self> {
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket.into())? })
    }

    /// Takes over the end that the supervisor passed to this process as standard input, which
    /// becomes `/dev/null`.
    ///
    /// Standard input, because it is the one descriptor that a process can take over without
    /// trusting a bare number.
    ///
    /// # Errors
    ///
    /// Those of the system calls, and of the registration with the runtime.
    pub fn inherited() -> io::Result<Self> {
        Self::from_fd(inherited_socket()?)
    }

    /// Sends one message with its descriptors; waits while the other side's buffer is full.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the message or the number of descriptors is too large; `BrokenPipe`
    /// when the other side is gone; else what the kernel says.
    pub async fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let packet = serde_json::to_vec(message)?;
        if MAX_PACKET < packet.len() || MAX_DESCRIPTORS < descriptors.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large"));
        }
        let send = || send_packet(self.socket.as_fd(), &packet, descriptors);
        match self.socket.async_io(Interest::WRITABLE, send).await {
            // The other side closed its end with packets of ours unread in it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            sent => sent,
        }
    }

    /// Sends one message without waiting, which fails when the other side's buffer is full.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn send_now(&self, message: &impl Serialize) -> io::Result<()> {
        send_packet(self.socket.as_fd(), &serde_json::to_vec(message)?, &[])
    }

    /// Closes both directions, whoever else holds this end: either side hears end-of-file.
    pub(crate) fn shut_down(&self) {
        let shut = rustix::net::shutdown(&self.socket, Shutdown::Both);
        debug_assert!(matches!(shut, Ok(()) | Err(rustix::io::Errno::NOTCONN)), "{shut:?}");
    }

    /// Receives one message with its descriptors, which are closed on `exec`. `None`: the other
    /// side is gone. Cancel safe.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a packet that is too large, that lost descriptors, or that is not a
    /// message; else what the kernel says.
    pub async fn recv<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut packet = vec![0; MAX_PACKET];
        let recv = || recv_packet(self.socket.as_fd(), &mut packet);
        let (length, descriptors) = match self.socket.async_io(Interest::READABLE, recv).await {
            // The other side closed its end with packets of ours unread in it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            received => received?,
        };
        if length == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(packet.get(..length).unwrap_or_default())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some((message, descriptors)))
    }
}

/// Takes standard input over as a socket and puts `/dev/null` in its place.
pub(crate) fn inherited_socket() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

fn send_packet(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let sent =
        rustix::net::sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, SendFlags::NOSIGNAL)?;
    debug_assert_eq!(sent, packet.len(), "a packet is sent whole or not at all");
    Ok(())
}

fn recv_packet(socket: BorrowedFd<'_>, packet: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(packet)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors = ancillary
        .drain()
        .filter_map(|message| {
            let RecvAncillaryMessage::ScmRights(descriptors) = message else { return None };
            Some(descriptors)
        })
        .flatten()
        .collect();
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "packet cut short"));
    }
    Ok((received.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;
    use crate::message::{FromProxy, MAX_TEXT, ToProxy, WorkerId};

    #[tokio::test]
    async fn a_message_arrives_with_its_descriptors_in_order() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs).unwrap();
        let (first, second) = (file_with("first"), file_with("second"));

        let sent = ToProxy::WorkerStarted { id: id(), pid: 7, rows: 2, socket: "/run/a".into() };
        ours.send(&sent, &[first.as_fd(), second.as_fd()]).await.unwrap();
        let (message, descriptors) = theirs.recv::<ToProxy>().await.unwrap().unwrap();

        assert_eq!(message, sent);
        let texts: Vec<String> = descriptors.into_iter().map(text_of).collect();
        assert_eq!(texts, ["first", "second"]);
    }

    #[tokio::test]
    async fn received_descriptors_are_closed_on_exec() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs).unwrap();

        ours.send(&ToProxy::AccessLog, &[file_with("").as_fd()]).await.unwrap();
        let (_, descriptors) = theirs.recv::<ToProxy>().await.unwrap().unwrap();

        let flags = rustix::io::fcntl_getfd(descriptors.first().unwrap()).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
    }

    #[tokio::test]
    async fn the_largest_number_of_descriptors_passes_and_one_more_is_refused() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs).unwrap();
        let file = file_with("");

        ours.send(&ToProxy::Drain, &[file.as_fd(); MAX_DESCRIPTORS]).await.unwrap();
        let (_, descriptors) = theirs.recv::<ToProxy>().await.unwrap().unwrap();
        assert_eq!(descriptors.len(), MAX_DESCRIPTORS);

        let refused = ours.send(&ToProxy::Drain, &[file.as_fd(); MAX_DESCRIPTORS + 1]).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn messages_keep_their_order_and_their_borders() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs).unwrap();
        theirs.send(&FromProxy::ConfigApplied { version: 1 }, &[]).await.unwrap();
        theirs.send(&FromProxy::Drained, &[]).await.unwrap();
        drop(theirs);

        let (first, _) = ours.recv::<FromProxy>().await.unwrap().unwrap();
        let (second, _) = ours.recv::<FromProxy>().await.unwrap().unwrap();
        assert_eq!((first, second), (FromProxy::ConfigApplied { version: 1 }, FromProxy::Drained));
        assert!(ours.recv::<FromProxy>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_garbled_packet_is_an_error_and_not_a_panic() {
        for garbage in [&b"\xff\xfe"[..], b"{}", b"\"Unknown\"", b"{\"Drain\":1}", b"[1,2"] {
            let (ours, theirs) = Channel::pair().unwrap();
            rustix::net::send(&theirs, garbage, SendFlags::empty()).unwrap();
            let error = ours.recv::<ToProxy>().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
    }

    #[tokio::test]
    async fn a_packet_larger_than_the_limit_is_an_error() {
        let (ours, theirs) = Channel::pair().unwrap();
        let large = vec![b' '; MAX_PACKET + 1];
        rustix::net::send(&theirs, &large, SendFlags::empty()).unwrap();
        let error = ours.recv::<ToProxy>().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let message = ToProxy::Pool { name: "x".repeat(MAX_PACKET) };
        let error = ours.send(&message, &[]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    /// Control characters are six times as long in JSON, and no cut may fall into a character.
    #[tokio::test]
    async fn a_text_of_any_length_fits_into_a_packet() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs).unwrap();
        for text in ["\u{1}".repeat(MAX_PACKET), format!("x{}", "\u{20ac}".repeat(MAX_PACKET))] {
            let sent = ToProxy::ConfigError { message: Some(text.clone()) };
            ours.send(&sent, &[]).await.unwrap();
            let (received, _) = theirs.recv::<ToProxy>().await.unwrap().unwrap();
            let ToProxy::ConfigError { message: Some(received) } = received else { panic!() };
            let kept = received.strip_suffix("...").unwrap();
            assert!(MAX_TEXT - 4 <= kept.len() && text.starts_with(kept), "{}", kept.len());

            let refused = FromProxy::ConfigRefused { version: 1, message: text };
            theirs.send(&refused, &[]).await.unwrap();
            ours.recv::<FromProxy>().await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn sending_to_a_side_that_is_gone_is_an_error_and_not_a_signal() {
        let (ours, theirs) = Channel::pair().unwrap();
        drop(theirs);
        let error = ours.send(&ToProxy::Drain, &[]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_side_that_went_with_messages_unread_is_gone_like_any_other() {
        let (ours, theirs) = Channel::pair().unwrap();
        ours.send(&ToProxy::LameDuck, &[]).await.unwrap();
        drop(theirs);
        let error = ours.send(&ToProxy::Drain, &[]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    fn id() -> WorkerId {
        WorkerId { pool: "web".to_owned(), slot: 0, generation: 1 }
    }

    fn file_with(text: &str) -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::memfd_create("test", flags).unwrap());
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        file
    }

    fn text_of(descriptor: OwnedFd) -> String {
        let mut text = String::new();
        File::from(descriptor).read_to_string(&mut text).unwrap();
        text
    }
}
