//! One end of the channel: a socket of packets, a word each; the first carries the listeners. Calls block, with a deadline.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt::{Timeout, set_socket_timeout},
};

use super::Word;

/// Listeners that one word can carry.
const MAX_LISTENERS: usize = 8;
const MAX_WORD: usize = 64;

/// Both ends of a new channel.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Says a word.
pub(super) fn say(channel: impl AsFd, word: Word, listeners: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LISTENERS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !listeners.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(listeners)) {
        return Err(io::Error::other("too many listeners"));
    }
    sendmsg(channel, &[IoSlice::new(word.text().as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a word, and for no other; what came with it.
pub(super) fn hear(channel: impl AsFd, wanted: Word, deadline: Duration) -> io::Result<Vec<OwnedFd>> {
    set_socket_timeout(&channel, Timeout::Recv, Some(deadline))?;
    let mut text = [0; MAX_WORD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LISTENERS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = match recvmsg(channel, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Ok(message) => message.bytes,
        Err(rustix::io::Errno::AGAIN) => {
            let text = format!("no `{}` within {} s", wanted.text(), deadline.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Err(errno) => return Err(errno.into()),
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    match Word::ALL.into_iter().find(|word| word.text().as_bytes() == &text[..got]) {
        Some(word) if word == wanted => Ok(descriptors),
        _ if got == 0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended")),
        _ => Err(io::Error::other(format!("it said something else than `{}`", wanted.text()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_go_through_and_only_the_awaited_word_does() {
        let (old, new) = pair().expect("a pair");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        say(&old, Word::Listeners, &[listener.as_fd()]).expect("said");
        drop(listener);
        let mut got = hear(&new, Word::Listeners, Duration::from_secs(5)).expect("heard");
        let same = std::net::TcpListener::from(got.pop().expect("one"));
        assert_eq!(same.local_addr().expect("an address"), address);
        std::net::TcpStream::connect(address).expect("it never closed");
        say(&new, Word::Serving, &[]).expect("said");
        assert!(hear(&old, Word::Prepared, Duration::from_secs(5)).is_err(), "another word");
        let late = hear(&old, Word::Prepared, Duration::from_millis(20)).expect_err("nothing");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(new);
        assert_eq!(
            hear(&old, Word::Go, Duration::from_secs(5)).expect_err("gone").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
