"""What a command has opened and must close, however it ends."""

from __future__ import annotations

from collections.abc import Callable

_opened: list[Callable[[], None]] = []


def at_end(close: Callable[[], None]) -> None:
    """Call it when the command that runs now ends."""
    _opened.append(close)


def close_all() -> None:
    """The newest first."""
    while _opened:
        _opened.pop()()
