"""The project tells the truth about itself: documents, recipes, catalogue and options."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from bench.docs import PAGES
from postlude.algorithms import ALGORITHMS
from postlude.inputs.standing import plain
from postlude.recipe import documents
from postlude.recipe import schema as recipe
from postlude.recipe.documents import Document
from postlude.recipe.resolution import resolve
from postlude.rewards.resolve import BUILT_IN
from postlude.runs.folder import Run

ROOT = Path(__file__).parent.parent
SOURCE = "\n".join(p.read_text() for p in sorted((ROOT / "src").rglob("*.py")))


@pytest.mark.parametrize("name", PAGES)
def test_generated_documents_are_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run `make docs`"


FILES = [*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "src/postlude/recipes").rglob("*.yaml")]
RECIPES = [p for p in sorted(FILES) if p.name != "principles.yaml"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_every_recipe_resolves(path: Path) -> None:
    document = documents.read(path)
    for key, value in (("model", "model"), ("data", "prompts.jsonl"), ("reward", "exact")):
        rewarded = ALGORITHMS[document.values["method"]].source == "rollout"
        if key not in document.values and (key != "reward" or rewarded):
            documents.override(document, [f"{key}={value}"])
    assert resolve(document).method == document.values["method"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_reward_stands_in_a_recipe(name: str) -> None:
    uses = [one["use"] for path in RECIPES for one in _rewards(path)]
    assert name in uses


def _rewards(path: Path) -> list[dict[str, str]]:
    given = documents.read(path).values.get("reward", [])
    return [{"use": one} if isinstance(one, str) else one for one in (given if isinstance(given, list) else [given])]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_method_resolves_with_its_own_defaults(name: str) -> None:
    values = {"method": name, "model": "m", "data": "d.jsonl"}
    if ALGORITHMS[name].source == "rollout":
        values["reward"] = "exact"
    if ALGORITHMS[name].pretrain:
        values["pretrain"] = "text.jsonl"
    found = resolve(Document(values))
    # only lengths that follow from the generation limit are filled in
    assert type(found.objective) is type(ALGORITHMS[name].objective)
    assert found.updates == ALGORITHMS[name].updates


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_resolved_recipe_resolves_to_itself(name: str, tmp_path: Path) -> None:
    values = {"method": name, "model": "m", "data": "d.jsonl"}
    if ALGORITHMS[name].source == "rollout":
        values["reward"] = "exact"
    if ALGORITHMS[name].pretrain:
        values["pretrain"] = "text.jsonl"
    found = resolve(Document(values))
    Run(tmp_path).write_config(plain(asdict(found)), [])
    assert resolve(documents.read(tmp_path / "config.yaml")) == found


def test_every_option_is_read_somewhere() -> None:
    """An option that nothing reads is a lie; the schema's own file does not count as reading."""
    for kind in recipe._all:
        for f in fields(kind):
            pattern = rf"\.{f.name}\b"
            assert re.search(pattern, SOURCE), f"{kind.__name__}.{f.name} is read nowhere"


def test_importing_postlude_is_light() -> None:
    code = "import sys, postlude; assert not {'torch', 'transformers', 'ray', 'vllm', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("target", ["demo", "test", "selftest", "faults", "kills", "fuzz", "study", "methods-study"])
def test_the_makefile_can_be_read_and_has_the_target(target: str) -> None:
    make = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert make.returncode == 0, make.stderr


def test_the_project_does_not_read_outside_itself() -> None:
    places = [p for folder in ("src", "tests", "bench", "examples") for p in (ROOT / folder).rglob("*.py")]
    for place in places:
        if place != Path(__file__):
            assert "../shared" not in place.read_text(), place


def test_no_pickle_and_no_remote_code() -> None:
    assert not re.search(r"^\s*(import|from) pickle", SOURCE, re.MULTILINE)
    assert "torch.load(" not in SOURCE
    assert "trust_remote_code=True" not in SOURCE
