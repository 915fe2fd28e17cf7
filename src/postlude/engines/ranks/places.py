"""Hosts that ranks are placed on: what each says of itself, and what has to be the same on all of them."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from postlude.errors import EngineError, Problem, reason
from postlude.words import counted

SAME = ("python", "postlude", "torch", "transformers", "ray")
"""What every host has to have in the same version: numbers, checkpoints and messages come from them."""
PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV",
    "CC", "CXX", "PYTHONPATH", "PYTHONHASHSEED", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
FAMILIES = (
    "LC_", "XDG_", "HF_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "TRITON_", "CUDA_", "CUBLAS_", "NVIDIA_", "NCCL_",
    "GLOO_", "UCX_", "FI_", "HIP_", "HSA_", "ROCR_", "MIOPEN_", "OMP_", "MKL_", "KMP_", "SSL_",
)  # fmt: skip
"""Beginnings of names. With PASSED, all that a rank has of an environment: no key of a judge is among them. HF_TOKEN
is, since a rank loads its model."""
SIOCGIFADDR = 0x8915
"""Of Linux: what address an interface has."""


@dataclass(frozen=True)
class Host:
    """What the place of one rank says of itself."""

    name: str
    address: str
    """At which other hosts reach it."""
    pid: int
    """Of the Ray actor there."""
    cores: int
    versions: Mapping[str, str]
    nonce: str
    """What it read in the run's folder; empty where there was no such file, else why not."""


def host_of_this(address: str, note: Path | None) -> Host:
    """Of the process that calls it."""
    text = ""
    if note is not None:
        with suppress(FileNotFoundError, NotADirectoryError):
            try:
                text = note.read_text()
            except PermissionError as error:
                text = reason(error)
    return Host(socket.gethostname(), address, os.getpid(), cores(), versions(), text)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def versions() -> dict[str, str]:
    """Of everything in SAME. What postlude is, its files say: a number may be that of several states of it."""
    those = {name: _version(name) for name in SAME if name != "python"}
    those["postlude"] += f" ({_print_of_package()})"
    return {"python": platform.python_version(), **those}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _print_of_package() -> str:
    folder = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def environment(outer: Mapping[str, str], threads: int | None = None) -> dict[str, str]:
    """What a rank sees of an environment, with its number of CPU threads where that is given."""
    inner = {name: text for name, text in outer.items() if name in PASSED or name.startswith(FAMILIES)}
    return inner if threads is None else inner | {"OMP_NUM_THREADS": str(threads)}


def search_path() -> str:
    """Where this process looks for modules, for one that is to have the same."""
    return os.pathsep.join(place or os.getcwd() for place in sys.path)


def interface_of(address: str) -> str | None:
    """The network interface of this host that has an address; None where that is not known."""
    with suppress(OSError, ImportError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        import fcntl

        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def threads_of(hosts: Sequence[Host]) -> list[int]:
    """CPU threads of each rank: those on one host share its cores."""
    names = [host.name for host in hosts]
    return [max(1, host.cores // names.count(host.name)) for host in hosts]


@contextmanager
def noted(folder: Path | None) -> Iterator[tuple[Path | None, str]]:
    """A file in the run's folder, and what it says: whoever reads that there sees the same folder."""
    if folder is None:
        yield None, ""
        return
    path, text = folder.absolute() / f".seen-{secrets.token_hex(4)}", secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        yield path, text
    finally:
        path.unlink(missing_ok=True)


def require_alike(hosts: Sequence[Host], nonce: str, folder: Path | None) -> None:
    """Raise EngineError with everything that is wrong with the hosts of ranks."""
    wrong = [*_unseen(hosts, nonce, folder), *_differ(hosts)]
    if wrong:
        raise EngineError(wrong)


def _unseen(hosts: Sequence[Host], nonce: str, folder: Path | None) -> Iterator[Problem]:
    for name, host in {host.name: host for host in hosts}.items():
        if host.nonce != nonce:
            seen = "sees another folder there" if not host.nonce else f"cannot read it ({host.nonce})"
            sentence = (
                f"host {name} cannot see {folder} as it is here: it {seen}. Put the run folder on a file system that "
                "every host mounts under the same path, or set output."
            )
            yield Problem("hosts-differ", sentence, key="output")


def _differ(hosts: Sequence[Host]) -> Iterator[Problem]:
    ours = versions()
    for name, host in {host.name: host for host in hosts}.items():
        other = [
            f"{what} {host.versions[what]} (here {ours[what]})" for what in SAME if host.versions[what] != ours[what]
        ]
        if other and name == socket.gethostname():
            sentence = f"{', '.join(other)} was changed here while the run was at work: --resume goes on with it."
            yield Problem("hosts-differ", sentence)
        elif other:
            sentence = f"host {name} has {', '.join(other)}: every host needs the same, installed in the same way."
            yield Problem("hosts-differ", sentence, key="engine.address")


@dataclass(frozen=True)
class Offer:
    """What one host of a cluster has in all, whoever uses it now."""

    name: str
    cpus: float
    gpus: float


def no_room(size: int, gpus: bool, offers: Sequence[Offer], free: tuple[float, float], waited: float) -> EngineError:
    """Why ranks were not placed: what is asked, and what there is. `free`: CPUs and GPUs that nobody uses."""
    what = "GPU" if gpus else "CPU"
    each = [offer.gpus if gpus else offer.cpus for offer in offers]
    listed = ", ".join(f"host {offer.name}: {number:g}" for offer, number in zip(offers, each, strict=True))
    left = free[1] if gpus else free[0]
    used = f", of which {left:g} {'is' if left == 1 else 'are'} free" if left < sum(each) else ""
    sentence = (
        f"engine.trainers wants {counted(size, what)}; Ray offers {sum(each):g}{used} ({listed or 'no host'}). "
        f"Nothing changed in {waited:.0f} s. Lower engine.trainers, free some, or add hosts to the cluster."
    )
    return EngineError(sentence, code="no-room", key="engine.trainers")
