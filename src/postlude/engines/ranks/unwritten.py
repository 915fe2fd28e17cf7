"""A rank that cannot write: its others are sound, and the driver hears what it would hear of its own disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from postlude.models.spread import LeftOff
from postlude.runs.durable import os_errors


@dataclass(frozen=True)
class Unwritten:
    """Why a rank could not write what it was to. All ranks stopped at the same place, and take the next call."""

    rank: int
    number: int
    """Of the operating system's error."""
    why: str


def written(rank: int, work: Callable[[], object]) -> Unwritten | None:
    """Do what all ranks do to write something; why that failed on this one. None where it did not, or another says.
    Raises ConnectionError: a rank that cannot reach the others is out of step with them."""
    try:
        with os_errors():
            work()
    except LeftOff:
        return None
    except ConnectionError:
        raise
    except OSError as error:
        return Unwritten(rank, error.errno or errno.EIO, error.strerror or str(error))
    return None


def require_written(said: Sequence[Unwritten | None], folder: Path) -> None:
    """Raise OSError where a rank could not write to a folder, as this process would where it writes itself."""
    for one in said:
        if one is not None:
            raise OSError(one.number, f"trainer rank {one.rank}: {one.why}")
    os.listdir(folder)  # opened anew: of what another host wrote NFS may say for half a minute that it is not there
