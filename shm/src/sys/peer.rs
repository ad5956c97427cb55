//! Who is at the other end of a socket.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// The user at the other end.
#[cfg(target_os = "linux")]
pub(crate) fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    // Not rustix' `socket_peercred`: its `Pid` has no room for the 0 of a peer in another namespace.
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = libc::socklen_t::try_from(size_of::<libc::ucred>()).expect("a few bytes");
    // SAFETY: the descriptor is open, and the pointers are to a `ucred` and to its length.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    if status == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

/// The user at the other end.
#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: the descriptor is open, and both pointers are to numbers of the right type.
    let status = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut user, &raw mut group) };
    if status == 0 { Ok(user) } else { Err(io::Error::last_os_error()) }
}
