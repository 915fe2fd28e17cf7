"""A worker's own view: no processes but its own, no network, an empty read-only root. Set up once for many programs."""

from __future__ import annotations

import errno
import os

from . import kernel
from .limits import become_nobody

EVERY = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
SCRATCH = "/scratch"
QUIET = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def enter(scratch: int, number: int) -> None:
    """Move into new namespaces, with a scratch folder of `scratch` MiB where that is not 0.

    The caller goes on as process 1 of them; the process it was waits for that and ends with it. `number`: of the user
    that root becomes where it may make namespaces only as an ordinary user does. Raises OSError.
    """
    try:
        kernel.unshare(EVERY)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.ENOSPC, errno.EINVAL):
            raise
        _unshare_as_user(number)
    _empty_root(scratch)
    child = os.fork()
    if child:
        _wait_for(child)


def _unshare_as_user(number: int) -> None:
    """Inside a user namespace anyone may make the others, unless the system forbids that."""
    become_nobody(number)
    user, group = os.getuid(), os.getgid()
    kernel.unshare(EVERY | kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _empty_root(scratch: int) -> None:
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("none", "/tmp", "tmpfs", QUIET, "size=64k,nr_inodes=16,mode=0755")
    os.chdir("/tmp")
    if scratch:
        os.mkdir("." + SCRATCH)
        kernel.mount("none", "." + SCRATCH, "tmpfs", QUIET, f"size={scratch}m,nr_inodes=4096,mode=0777")
    kernel.syscall("pivot_root", b".", b".")
    kernel.unmount(".")
    os.chdir("/")
    kernel.mount(None, "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | QUIET)


def _wait_for(child: int) -> None:
    """Hold nothing open, so that only the child keeps the line to the trainer, and end as it ends."""
    os.closerange(0, 1024)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
