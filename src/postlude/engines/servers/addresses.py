"""Where foreign servers may be: this machine or a private network, since whoever reaches one can replace weights."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from postlude.credentials import veiled
from postlude.errors import ConfigError, Problem

KEY = "engine.servers.urls"
NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
"""This machine, private networks (RFC 1918, RFC 4193), one cable's (RFC 3927, RFC 4291), and those behind a carrier or
an overlay (RFC 6598)."""


def private_urls(urls: Sequence[str]) -> list[str]:
    """The root URL of each server, its name resolved: who answers later is who was looked at.

    Raises ConfigError with everything that is wrong. Takes as long as resolving names does.
    """
    problems: list[Problem] = []
    roots: list[str] = []
    for url in urls:
        try:
            root = _root(url)
        except ValueError as error:
            problems.append(Problem("out-of-range", f"{KEY}: {veiled(url)}: {error}", key=KEY))
            continue
        if root in roots:
            problems.append(Problem("duplicate-name", f"{KEY}: {veiled(url)} is there twice. Take one out.", key=KEY))
        roots.append(root)
    if problems:
        raise ConfigError(problems)
    return roots


def is_private(address: str) -> bool:
    """Whether nobody outside this machine or its private networks has this address."""
    one = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(one, "ipv4_mapped", None)
    return any((mapped or one) in network for network in NETWORKS)


def _root(url: str) -> str:
    """Raises ValueError where it cannot be used."""
    parts = urlsplit(url)
    if parts.path.rstrip("/") not in ("", "/v1") or parts.query or parts.fragment:
        raise ValueError("give the server's root, such as http://10.0.0.5:8000.")
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = _resolved(host, port)
    outside = [address for address in addresses if not is_private(address)]
    if outside:
        raise ValueError(
            f"{outside[0]} is a public address. A vLLM server that takes weights lets everybody who reaches it replace "
            "them: use a loopback or a private address, or a tunnel (ssh -L 8000:127.0.0.1:8000 host)."
        )
    if parts.scheme == "https":
        return f"https://{parts.netloc}"  # a certificate is of a name
    address = addresses[0]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _resolved(host: str, port: int) -> list[str]:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{host!r} cannot be resolved: {getattr(error, 'strerror', None) or error}.") from error
    return sorted(dict.fromkeys(str(row[4][0]) for row in rows), key=lambda text: ":" in text)
