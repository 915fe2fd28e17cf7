"""Servers that replace weights for whoever reaches them: on this machine or a private network alone."""

from __future__ import annotations

import pytest

from postlude.engines.servers.addresses import is_private, private_urls
from postlude.errors import ConfigError


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.1.2.3", "10.0.0.5", "172.31.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "::1", "fd12::1",
     "fe80::1%eth0", "::ffff:10.0.0.1"],
)  # fmt: skip
def test_private(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "0.0.0.0", "172.32.0.1", "192.169.0.1", "100.128.0.1", "224.0.0.1", "2001:4860::1", "::",
     "::ffff:8.8.8.8", "192.0.2.1"],
)  # fmt: skip
def test_public(address: str) -> None:
    assert not is_private(address)


def test_names_are_resolved_and_asked_by_their_address() -> None:
    (root,) = private_urls(["http://localhost:8000/v1/"])
    assert root in ("http://127.0.0.1:8000", "http://[::1]:8000")
    assert private_urls(["http://10.0.0.5", "http://[fd12::1]:81/"]) == ["http://10.0.0.5:80", "http://[fd12::1]:81"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        private_urls(
            ["http://8.8.8.8:8000", "http://10.0.0.5/v2", "http://10.0.0.5/?a=b", "http://10.0.0.6", "http://10.0.0.6:80",
             "http://no-such-host.invalid"]
        )  # fmt: skip
    public, path, query, twice, unknown = caught.value.problems
    assert public == (
        "engine.servers.urls: http://8.8.8.8:8000: 8.8.8.8 is a public address. A vLLM server that takes weights lets "
        "everybody who reaches it replace them: use a loopback or a private address, or a tunnel (ssh -L "
        "8000:127.0.0.1:8000 host)."
    )
    root = "give the server's root, such as http://10.0.0.5:8000."
    assert path == f"engine.servers.urls: http://10.0.0.5/v2: {root}"
    assert query.endswith(root)
    assert twice == "engine.servers.urls: http://10.0.0.6:80 is there twice. Take one out."
    assert unknown.startswith(
        "engine.servers.urls: http://no-such-host.invalid: 'no-such-host.invalid' cannot be resolved"
    )
