"""Where a Ray cluster of the user's is, and whether anybody listens there: asked before Ray, which takes a minute."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

from postlude.engines.ranks.aside import within
from postlude.errors import EngineError, reason

AUTO = "auto"
VARIABLE = "RAY_ADDRESS"
ANSWER = 3.0
"""Seconds for a name, and for a connection to be taken."""
START_ONE = (
    "Start one (ray start --head), or leave engine.address out: Ray then runs on this machine for this run alone."
)


def no_cluster(address: str, why: str) -> EngineError:
    """Of an address, as the recipe has it."""
    return EngineError(
        f"no Ray cluster can be reached (engine.address: {address}): {why.rstrip('.')}. {START_ONE} A cluster with a "
        "token is reached with the same: RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH.",
        code="no-cluster",
        key="engine.address",
    )


def address_of(asked: str, surroundings: Mapping[str, str], noted: Callable[[], str | None]) -> str:
    """host:port of an address in a recipe. `auto` is what RAY_ADDRESS says, else what `ray start` has noted on this
    machine: never one of the clusters that happen to run here, which may be another run's. EngineError where there is
    neither."""
    if asked != AUTO:
        return asked
    said = surroundings.get(VARIABLE, "")
    address = said if said not in ("", AUTO, "local") else noted()
    if not address:
        raise EngineError(
            f"engine.address is auto, and no cluster is known on this machine: {VARIABLE} is not set, and no ray start "
            f"has noted one. {START_ONE}",
            code="no-cluster",
            key="engine.address",
        )
    split(address)
    return address


def split(address: str) -> tuple[str, int]:
    """Host and port. EngineError where it has another form, as ray://HOST has."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise no_cluster(address, "that is no host:port, such as 10.0.0.5:6379")
    return host.strip("[]"), int(port)


def require_name(asked: str, address: str) -> None:
    """Raise EngineError where no host has the name, or that is not known within seconds. `asked`: as the recipe has
    it."""
    host, _ = split(address)
    why: list[str] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why.append(f"no host is known by the name {host} ({reason(error)})")

    if not within(ANSWER, look_up):
        why.append(f"nobody said within {ANSWER:.0f} s which host has the name {host}")
    if why:
        raise no_cluster(_both(asked, address), why[0])


def _both(asked: str, address: str) -> str:
    return address if asked == address else f"{asked}, which is {address}"


def require_listener(asked: str, address: str) -> None:
    """Raise EngineError where nobody takes a connection within seconds."""
    host, port = split(address)
    until, why = time.monotonic() + ANSWER, ""
    for family, kind, protocol, _, there in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            with socket.socket(family, kind, protocol) as asking:
                asking.settimeout(max(0.1, until - time.monotonic()))
                asking.connect(there)
                return
        except TimeoutError:
            why = f"nobody answers there within {ANSWER:.0f} s"
        except OSError as error:
            why = f"nobody listens there ({reason(error)})"
    raise no_cluster(_both(asked, address), why)
