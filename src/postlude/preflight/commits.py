"""What a version of the weights and a commit take on the disk, of a model whose weights are here."""

from __future__ import annotations

from postlude.errors import ConfigError
from postlude.footprint import numbers, shape_of
from postlude.models.adapters import is_adapter
from postlude.prepared import Prepared
from postlude.sizing.work import SIZES

MOMENTS = 8
"""Bytes of AdamW's for each number that trains."""


def written_bytes(prepared: Prepared) -> tuple[int, int] | None:
    """(of a version, of a commit); None of a model that is not here yet."""
    recipe = prepared.recipe
    held, trained = recipe.engine, numbers(recipe.model.path)
    if recipe.model.lora is not None:
        try:
            trained = shape_of(recipe.model.path).adapter(recipe.model.lora.rank, recipe.model.lora.targets)
        except ConfigError:
            trained = 0
    if not trained or is_adapter(recipe.model.path):
        return None
    version = trained * (SIZES[held.dtype] if recipe.model.lora is None else 4)
    master = 4 if SIZES[held.dtype] < 4 else 0
    return version, version + trained * (MOMENTS + master)
