"""What a server of tests does instead of answering properly. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any


@dataclass(frozen=True)
class Step:
    """What the server does instead of answering properly, once."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    """Sent as it is; None answers with the model."""
    until: Event | None = None
    """It is answered only once this is set."""
    together: int = 0
    """It is answered only once so many requests were under way together."""
    delay: float = 0.0
    """Seconds that it is under way then, at least."""
    drip: float = 0.0
    """Seconds between single bytes of the body."""
    change: Callable[[dict[str, Any]], object] = lambda reply: None
    """Applied to the proper reply before it is sent."""
