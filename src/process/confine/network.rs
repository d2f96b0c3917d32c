//! A network of one's own: a new network namespace has no way out, and so no way in. It holds a loopback, which
//! is down at first; it is brought up, because a server and its test may well talk to each other.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use super::inside::Problem;

/// Leaves the network for an empty one. This process must have a single thread.
pub(super) fn leave() -> Result<(), Problem> {
    let user = (geteuid().as_raw(), getegid().as_raw());
    match unshare(UnshareFlags::NEWNET) {
        // Whoever is not root may do so as the root of a user namespace of his own, as long as he stays
        // the same user in it.
        Err(Errno::PERM) => {
            unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
                .map_err(Problem::system("make a network namespace"))?;
            stay(user).map_err(Problem::system("map the user into a namespace"))?;
        }
        made => made.map_err(Problem::system("make a network namespace"))?,
    }
    loopback_up().map_err(Problem::system("bring up the loopback"))
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe because of CLONE_FILES, which is never asked for here"
    )]
    rustix::thread::unshare(flags)
}

/// The same user and group as outside.
fn stay((user, group): (u32, u32)) -> io::Result<()> {
    // Nobody but root may map a group while the list of groups can still be changed.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// `RTM_NEWLINK`: changes an interface.
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const ACKNOWLEDGED_REQUEST: u16 = 1 | 4;
/// `NLMSG_ERROR`: an answer, also where there is no error.
const ANSWER: u16 = 2;
/// `IFF_UP`.
const UP: u32 = 1;
/// In a new namespace it is always the first interface.
const LOOPBACK: i32 = 1;

/// Asks the kernel by a message of rtnetlink(7). The kernel gives an interface that loops back its addresses.
fn loopback_up() -> io::Result<()> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::sendto(&socket, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 256];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    match error_number(&answer[..length]) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not understood")),
    }
}

/// A `nlmsghdr` and an `ifinfomsg`.
fn request() -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(ACKNOWLEDGED_REQUEST.to_ne_bytes());
    // Number and sender, for whoever sends several.
    message.extend([0; 8]);
    // Family and type: any.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    // Which of the flags are to change.
    message.extend(UP.to_ne_bytes());
    message
}

/// Of a `nlmsghdr` and a `nlmsgerr`.
fn error_number(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let number = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (kind == ANSWER).then_some(number)
}
