"""Which Ray cluster an address stands for, and what is said where nobody is there."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from postlude.engines.ranks.addresses import address_of, require_listener, require_name
from postlude.engines.ranks.aside import aside
from tests.refusals import refused


@pytest.mark.parametrize(
    ("asked", "variable", "noted", "address"),
    [
        ("10.0.0.5:6379", "10.0.0.9:1", "10.0.0.8:1", "10.0.0.5:6379"),
        ("auto", "10.0.0.9:1", "10.0.0.8:1", "10.0.0.9:1"),
        ("auto", "", "10.0.0.8:1", "10.0.0.8:1"),
        ("auto", "auto", "10.0.0.8:1", "10.0.0.8:1"),
    ],
)
def test_auto_is_what_was_written_down(asked: str, variable: str, noted: str, address: str) -> None:
    assert address_of(asked, {"RAY_ADDRESS": variable}, lambda: noted) == address


def test_auto_is_no_cluster_that_happens_to_run_here() -> None:
    with refused("no-cluster", said="RAY_ADDRESS is not set, and no ray start has noted one"):
        address_of("auto", {}, lambda: None)


def test_another_form_is_refused() -> None:
    with refused("no-cluster", said="no host:port"):
        address_of("auto", {"RAY_ADDRESS": "ray://host:10001"}, lambda: None)


def test_who_does_not_listen_is_said_before_ray_is_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        require_listener(address, address)
    with refused("no-cluster", said=f"auto, which is {address}\\): nobody listens there"):
        require_listener("auto", address)


def test_a_name_that_nobody_has_is_said_before_ray_is_asked() -> None:
    with refused("no-cluster", said="no host is known by the name nobody.invalid"):
        require_name("nobody.invalid:6379", "nobody.invalid:6379")


def test_what_never_returns_is_left_to_itself() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(aside(lambda: time.sleep(1.0), 0.0))
    assert asyncio.run(aside(lambda: 3, 60.0)) == 3
