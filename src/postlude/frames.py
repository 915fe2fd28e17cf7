"""Which lines of a stack are of a user's own files: the others say nothing about what they can mend."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from traceback import FrameSummary

OURS = str(Path(__file__).parent) + os.sep
"""The folder of this package: its frames say nothing about a mistake in a user's file."""
LIBRARIES = (sysconfig.get_path("stdlib"), "site-packages", "dist-packages", "<frozen")
MOST = 4
"""Lines of a stack that are shown."""


def of_users(frames: Sequence[FrameSummary]) -> list[FrameSummary]:
    """Those of the user's files; where there are none, the last of ours, or of whatever library there is."""
    ours = [f for f in frames if f.filename.startswith(OURS)]
    users = [f for f in frames if f not in ours and not any(part in f.filename for part in LIBRARIES)]
    return users or ours[-1:] or list(frames[-1:])


def called_by_us(frames: Sequence[FrameSummary]) -> list[FrameSummary]:
    """Of a whole stack the lines of the user's files that we called, and not of the script that called us."""
    last = max((i for i, f in enumerate(frames) if f.filename.startswith(OURS)), default=0)
    return of_users(frames[last:])


def in_words(frames: Sequence[FrameSummary]) -> list[str]:
    """The last of them, outermost first: file, line, function and text."""
    return [f"{f.filename} line {f.lineno}, in {f.name}: {f.line}" for f in frames[-MOST:]]
