//! What root gives up. With all its capabilities root would undo a confinement (mounts, the namespaces and the
//! memory of other processes, modules of the kernel); what remains is what containers usually leave to root: its
//! way with owners, permissions, users and ports, which installers and archivers rely on.

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// Among those that are missing: `SYS_ADMIN`, `SYS_PTRACE` and `PERFMON` (each of which reads other processes'
/// environments), `DAC_READ_SEARCH` (opens a file by its number), `MKNOD` (reaches any disk).
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// This process, and whatever it starts, has [`KEPT`] at most, and never gains anything by an exec.
pub(super) fn give_up() -> io::Result<()> {
    let has = capabilities(None)?;
    for capability in has.permitted.difference(KEPT).iter() {
        match remove_capability_from_bounding_set(capability) {
            // Not in its power, and then not in the power of what it starts.
            Ok(()) | Err(io::Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: has.effective & KEPT,
            permitted: has.permitted & KEPT,
            inheritable: has.inheritable & KEPT,
        },
    )?;
    // Landlock requires it of ordinary users. It also keeps root from having at an exec what it gave up here.
    set_no_new_privs(true)
}
