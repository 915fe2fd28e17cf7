"""The strongest sandbox of this machine, proved by the canaries; a refusal where there is none."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

from postlude.errors import ConfigError
from postlude.sandbox.canaries import CANARIES, escapes
from postlude.sandbox.settings import LADDER, UNSAFE, Backend, Limits
from postlude.sandbox.worker import SandboxFault

UNSAFE_NAME = UNSAFE.name
NAMES = {
    "namespaces": LADDER[0],
    "landlock": LADDER[1],
    "bubblewrap": LADDER[2],
}
"""What a recipe may ask for by name, besides `auto` and `unsafe-none`."""


class SandboxUnavailable(ConfigError):
    """Model-written programs cannot be run safely on this machine."""


@dataclass(frozen=True)
class Chosen:
    """A backend that holds, and the line that says so."""

    backend: Backend
    line: str


@functools.cache
def choose(wanted: str, limits: Limits) -> Chosen:
    """The backend for `auto` or a name. Raises SandboxUnavailable, ValueError for a name there is not."""
    if wanted == UNSAFE_NAME:
        _require_linux()
        return Chosen(UNSAFE, "NO sandbox (unsafe-none): programs run with your files, keys and network")
    if wanted != "auto" and wanted not in NAMES:
        raise ValueError(f"sandbox {wanted!r} is none of auto, {', '.join(NAMES)}, {UNSAFE_NAME}")
    _require_linux()
    reasons = []
    for backend in LADDER if wanted == "auto" else (NAMES[wanted],):
        try:
            return Chosen(backend, _describe(backend, limits, _prove(backend, limits)))
        except (SandboxFault, SandboxUnavailable) as reason:
            reasons.append(f"{backend.name}: {reason}")
    raise SandboxUnavailable(_refusal(reasons), code="sandbox-unavailable")


def _require_linux() -> None:
    if sys.platform != "linux":
        raise SandboxUnavailable(
            f"reward code: cannot run model-written code on {sys.platform}: every sandbox needs Linux (x86_64 or "
            "aarch64). Run in a Linux virtual machine or container.",
            code="sandbox-unavailable",
        )


def _prove(backend: Backend, limits: Limits) -> dict[str, Any]:
    """What the worker set up. Raises where a layer is missing or a canary gets out."""
    if limits.scratch and not (backend.namespaces or backend.bubblewrap):
        raise SandboxUnavailable(
            "the profile `files` needs namespaces, for a folder of limited size", code="sandbox-unavailable"
        )
    got_out, facts = escapes(backend, limits)
    if got_out:
        raise SandboxUnavailable(f"canaries got out: {', '.join(got_out)}", code="sandbox-unavailable")
    return facts


def _describe(backend: Backend, limits: Limits, facts: dict[str, Any]) -> str:
    name = backend.name.replace("landlock", f"landlock (abi {facts['landlock']})")
    files = f"{limits.scratch} MiB of files" if limits.scratch else "no files"
    return (
        f"sandbox: {name}, {limits.memory} MiB, {limits.seconds:g} s, {files}; "
        f"canaries {len(CANARIES)}/{len(CANARIES)} held"
    )


def _refusal(reasons: list[str]) -> str:
    tried = "".join(f"\n  {reason}" for reason in reasons)
    return (
        f"reward code: cannot run model-written code safely here. Tried:{tried}\n"
        "Install bubblewrap, or use a kernel with Landlock (5.13 or later). In a virtual machine that holds nothing "
        f"else you may write `sandbox: {UNSAFE_NAME}` in the reward's args: every program then runs with your files, "
        "keys and network."
    )
