"""What a rank that imports this writes is cut into many small files."""

from __future__ import annotations

from postlude.engines.local import saving
from postlude.models import saved

saved.LARGEST, saving.LARGEST = 100_000, 0
SMALL = None
