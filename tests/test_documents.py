"""The examples of docs/python.md and the notebook run as they are written, in order, in a fresh folder."""

from __future__ import annotations

import ast
import asyncio
import doctest
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import postlude
from postlude.models.tiny import save_tiny_model

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that a user types into, in a folder with a model and prompts."""
    save_tiny_model(tmp_path / "my-model", layers=1, width=32, heads=2, spread=0.2)
    rows = [{"prompt": f"{a}+{a % 5}=", "answer": str(a + a % 5)} for a in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


async def run_cells(cells: Sequence[str], main: ModuleType) -> None:
    """As a notebook does: await may stand at the top."""
    for cell in cells:
        code: Any = compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waiting = eval(code, vars(main))
        if waiting is not None:
            await waiting


def test_the_examples_of_the_page_are_true(main: ModuleType) -> None:
    test = doctest.DocTestParser().get_doctest(PAGE.replace("```\n", "\n"), vars(main), "python.md", "python.md", 0)
    test.globs = vars(main)  # not a copy: a run finds functions there
    told: list[str] = []
    doctest.DocTestRunner().run(test, out=told.append, clear_globs=False)
    assert not told, "".join(told)
    assert len(test.examples) > 40
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    awaited = [block for block in blocks if not block.startswith(">>>")]
    assert len(awaited) == 1
    asyncio.run(run_cells(awaited, main))
    assert postlude.runs.read("runs/notebook").events == postlude.runs.read("runs/first").events


def test_the_page_has_an_example_for_what_it_is_there_for() -> None:
    used = {name for name in postlude.PUBLIC if f"postlude.{name}" in PAGE.partition("## All public names")[0]}
    assert {"train", "train_async", "check_recipe", "reward", "runs", "events", "methods", "LocalEngine"} <= used


def test_the_notebook_runs_within_an_event_loop(main: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")

    asyncio.run(run_cells(cells, main))
    rewards = vars(main)["history"]["reward/mean"]
    assert rewards.first < 0.1 and rewards.last > 3 * rewards.first, "what the notebook says of its reward"
    assert "step 30" in capsys.readouterr().out
