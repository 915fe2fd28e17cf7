"""Messages between the driver and the processes of its ranks as bytes.

They are Python's own between processes (as `multiprocessing` sends, and Ray too), which can name any class of a module
that is loaded, an objective from a user's file among them. So they are read only from a process that this run has
started, over a channel that nobody else reaches: never from a file, a model or a server.
"""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from typing import Any


def packed(value: Any) -> bytes:
    """A value as bytes. Raises what its own ways to be written raise."""
    return bytes(ForkingPickler.dumps(value, protocol=5))


def unpacked(message: bytes) -> Any:
    """The value again: arrays are the reader's own."""
    return ForkingPickler.loads(message)  # pyright: ignore[reportAttributeAccessIssue]  # its stub takes it for a method
