"""Messages between the driver and the processes of its ranks as bytes.

They are Python's own between processes (as `multiprocessing` sends, and Ray too), which can name any class of a module
that is loaded, an objective from a user's file among them: whoever may send one may run any program here. So they are
read only from what this run has started, through Ray, which asks for the run's token on this machine, and on a cluster
of the user's for whatever that asks for; never from a file, a model or a server.
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
