"""A worker inside bubblewrap, where the kernel or the system does not let us do its work ourselves."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from postlude.sandbox.inside.namespaces import SCRATCH
from postlude.sandbox.settings import folder_of

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")

AS_ROOT = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
"""Without a user namespace, in which root could not become another user; and what it needs for that."""
for _capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
    AS_ROOT += ["--cap-add", _capability]


def command(inside: Path, scratch: int, packages: Sequence[str] = ()) -> list[str]:
    """What to put before the interpreter. Raises OSError where bubblewrap is not installed."""
    program = shutil.which("bwrap")
    if program is None:
        raise OSError("it is not installed")
    words = [program, "--die-with-parent", "--new-session", "--clearenv", "--chdir", "/"]
    words += AS_ROOT if os.geteuid() == 0 else ["--unshare-all"]
    for path in dict.fromkeys((*LIBRARIES, *_interpreter(), *_installed(packages), str(inside))):
        words += ["--ro-bind-try", path, path]
    if scratch:
        words += ["--perms", "0777", "--size", str(scratch << 20), "--tmpfs", SCRATCH]
    return [*words, "--remount-ro", "/", "--"]


def _installed(packages: Sequence[str]) -> Iterator[str]:
    """The folders of packages, and those of the libraries that their wheels bring."""
    for name in packages:
        folder = folder_of(name)
        if folder is not None:
            yield from (str(folder / name), str(folder / f"{name}.libs"))


def _interpreter() -> list[str]:
    """The interpreter and its standard library, wherever they are."""
    paths = sysconfig.get_paths()
    found = [os.path.realpath(sys.executable), paths["stdlib"], paths["platstdlib"]]
    shared = sysconfig.get_config_var("LDLIBRARY") or ""
    folder = sysconfig.get_config_var("LIBDIR") or ""
    return [*found, *([os.path.join(folder, shared)] if shared.endswith(".so") else [])]
