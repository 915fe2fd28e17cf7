"""Recipes that come with the package, by name: the demos' stages, such as `demo/grpo` and `rlhf/ppo`.

They stand in `postlude/recipes`, a folder for each demo, beside what else its stages read. Their paths are of the
current folder: each takes up what the stages before it left in the folder of its demo.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from postlude.recipe.documents import Document, from_text

FOLDERS = {"demo": "demo-run", "rlhf": "demo-rlhf", "constitution": "demo-constitution"}
"""Group of recipes -> the folder that its demo writes, where none is named."""


def names() -> list[str]:
    """The recipes that `postlude train NAME` knows."""
    return [f"{group}/{file.name[:-5]}" for group in FOLDERS for file in _files(group) if _is_recipe(file)]


def text(name: str) -> str:
    """A recipe as it is written, with its comments."""
    return file_text(f"{name}.yaml")


def file_text(name: str) -> str:
    """A recipe's file, or one that recipes name: `constitution/pairs.jinja`."""
    return files("postlude").joinpath("recipes", *name.split("/")).read_text(encoding="utf-8")


def read(name: str) -> Document:
    """A recipe, ready to be overridden."""
    return from_text(text(name), name)


def write(group: str, folder: Path, seed: int) -> None:
    """All files of a group into a folder, its recipes with that folder as the place of their data, models and runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in _files(group):
        content = file.read_text(encoding="utf-8")
        if _is_recipe(file):
            content = _moved(content, FOLDERS[group], folder, seed)
        (folder / file.name).write_text(content, encoding="utf-8")


def _moved(content: str, old: str, folder: Path, seed: int) -> str:
    """What it reads lies beside the recipe; `output` is of the current folder, as everywhere."""
    moved = {f"output: {old}/": f"output: {folder}/", f" {old}/": " "}
    content = re.sub("|".join(map(re.escape, moved)), lambda match: moved[match[0]], content)
    return re.sub(r"^seed: 0$", f"seed: {seed}", content, flags=re.MULTILINE)


def _files(group: str) -> list[Traversable]:
    return sorted(files("postlude").joinpath("recipes", group).iterdir(), key=lambda file: file.name)


def _is_recipe(file: Traversable) -> bool:
    return file.name.endswith(".yaml") and "\nmethod: " in file.read_text(encoding="utf-8")
