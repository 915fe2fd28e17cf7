"""The number formats a model can be held in."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["float64", "float32", "bfloat16"]
"""float64 is for small models and tests: its rounding is so fine that it decides nothing, on any processor."""


def wide(dtype: Dtype) -> Dtype:
    """The format for what half precision would spoil: merges, scalar heads."""
    return "float64" if dtype == "float64" else "float32"
