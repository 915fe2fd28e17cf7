"""The document that a name stands for: a recipe file, a run folder, a method, or a recipe that comes with postlude."""

from __future__ import annotations

from pathlib import Path

from postlude.algorithms import ALGORITHMS
from postlude.errors import ConfigError
from postlude.recipe import documents, packaged
from postlude.recipe.documents import Document
from postlude.recipe.places import exists
from postlude.recipe.resolution import key_of
from postlude.words import closest

CONFIG, EVENTS = "config.yaml", "events.jsonl"
"""Of a run's folder."""


def document_of(recipe: Path, overrides: list[str]) -> Document:
    """The document of a recipe file, run folder, method or packaged recipe, with the command line's overrides."""

    document, overrides = _named(recipe, overrides)
    documents.override(document, overrides, key_of)
    if document.run == recipe and not document.is_users("output"):
        document.values["output"] = str(recipe)
    return document


def _named(recipe: Path, overrides: list[str]) -> tuple[Document, list[str]]:
    """What stands under a name, and the overrides with what the name adds to them."""
    name = str(recipe)
    if name in ALGORITHMS or (":" in name and not exists(recipe)):  # a folder of a method's name is ./NAME
        return Document({}), [f"method={name}", *overrides]
    run = recipe.parent if recipe.name == CONFIG else recipe
    if exists(run) and (run / EVENTS).exists():
        _require_config(run)
    if not exists(recipe) and name in packaged.names():
        return packaged.read(name), overrides
    if not exists(recipe):
        raise ConfigError(f"there is no recipe, run or method called {name!r}.{_meant(recipe)}", code="unknown-name")
    if recipe.is_dir() and not (recipe / CONFIG).exists():
        raise ConfigError(f"{str(recipe)!r} is a folder, but not of a run: it has no config.yaml.", code="not-a-run")
    file = recipe / CONFIG if recipe.is_dir() else recipe
    document = documents.read(file)
    if recipe.is_dir() or (file.name == CONFIG and (file.parent / EVENTS).exists()):
        document.run = file.parent
        document.values.pop("output", None)  # of earlier versions: the folder named is the run, wherever it is now
        if ":" in str(document.values.get("method")):
            document.values.pop("objective", None)  # theirs too: a method of one's own sets it in its file alone
    return document, overrides


def _require_config(run: Path) -> None:
    """Raises ConfigError where a run's config.yaml is gone, empty, or nothing that can be read."""
    file = run / CONFIG
    if file.is_file() and file.read_bytes().strip():
        return
    copies = [*run.glob("checkpoints/step-*/trainer/run/config.yaml")]
    if not file.exists() and not copies:
        raise ConfigError(
            f"the run {str(run)!r} was ended before it had begun: it has no {CONFIG} yet. Start it anew, with its "
            f"recipe and output={run}.",
            code="not-a-run",
        )
    seen = "is gone" if not file.exists() else "is empty: it is damaged" if file.is_file() else "is no file"
    newest = max(copies, key=lambda path: (len(str(path)), str(path)), default=None)
    way = f"Copy back the one in {newest}." if newest else f"Start the run anew, with its recipe and output={run}."
    raise ConfigError(f"{file} {seen}. {way}", code="damaged-run")


def _meant(recipe: Path) -> str:
    """The file or folder beside it, the method or packaged recipe, whose name is nearest."""

    beside = recipe.parent if exists(recipe.parent) else Path()
    there = [str(beside / p.name) for p in beside.iterdir() if p.suffix in (".yaml", ".yml") or p.is_dir()]
    close = closest(str(recipe), [*ALGORITHMS, *there, *packaged.names()])
    if close is None:
        return " See `postlude methods` and `postlude config recipes`."
    return f" Did you mean {'the method ' if close in ALGORITHMS else ''}{close!r}?"
