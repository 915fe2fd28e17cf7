"""Ranks that import this write an optimiser of any size in parts, as they do with a large one."""

from __future__ import annotations

from postlude.engines.local import saving

saving.LARGEST = 0
EACH = None
