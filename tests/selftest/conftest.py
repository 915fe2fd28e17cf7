"""A tiny model of any architecture as the subject of a self-test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postlude.engines.settings import Local
from postlude.models.load import inspect
from postlude.models.quiet import quiet
from postlude.models.spec import ModelSpec
from postlude.selftest.subject import Setup
from tests.conftest import build


@pytest.fixture
def setup_of(tmp_path: Path, tokenizer: Any) -> Callable[..., Setup]:
    """`setup_of(architecture, dtype)`: a small model of it in a folder."""

    def of(name: str, dtype: str = "float32") -> Setup:
        folder = tmp_path / name
        with quiet():
            build(name).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return Setup(str(folder), inspect(ModelSpec(str(folder))), tmp_path, Local(dtype=dtype, device="cpu"))  # type: ignore[arg-type]

    return of
