"""JSON that others wrote: whatever is wrong with it is a ValueError, brackets without end among it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def loads(text: str | bytes, **how: Any) -> Any:
    """The value of a text. Raises ValueError."""
    try:
        return json.loads(text, **how)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read(file: Path) -> Any:
    """The value of a file. Raises OSError, ValueError."""
    return loads(file.read_text(encoding="utf-8-sig"))
