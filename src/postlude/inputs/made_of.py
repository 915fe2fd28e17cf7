"""Everything a run is made of, as fingerprints: data, rewards, method, template, tokenizer, models."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from postlude.algorithms import ALGORITHMS
from postlude.inputs.code import modules_elsewhere, modules_of, shadowed
from postlude.inputs.models import of_model, of_tokenizer
from postlude.inputs.prints import Print, Prints, of_file, of_text
from postlude.inputs.rows import data_sets
from postlude.prepared import Prepared
from postlude.rewards.functions import JudgedReward, LearnedReward, RewardFunction
from postlude.rewards.resolve import form_of
from postlude.rewards.spec import RewardSpec
from postlude.runs.checkpoints import latest_model

Inputs = dict[str, Prints]
"""Word -> the fingerprints of the things it stands for."""
WORDS = {
    "data": "the rows trained on",
    "eval": "the held-out rows",
    "sheet": "the prompts of the sheet, where it has a file of its own",
    "pretrain": "the rows of plain text beside the method's own",
    "reward": "reward files, what they import beside them, their reward models and other files",
    "metric": "the same of metrics, which measure and are not trained on",
    "judge": "judges' models, principles and templates",
    "method": "the file of a method of one's own, and what it imports beside it",
    "template": "the chat template in force",
    "tokenizer": "the tokenizer's files",
    "model": "weights and config of the model it began with",
    "critic": "weights and config of the critic's start",
}
"""What can have changed, by the words of `--accept-changes`."""
FILES = ("schema", "template", "principles")
"""Arguments of built-in rewards that name a file."""


def inputs_of(prepared: Prepared) -> Inputs:
    """The fingerprints of a run, by their words; a word without anything is left out. Reads every weights file once."""
    recipe = prepared.recipe
    inputs: Inputs = {word: {} for word in WORDS}
    read: dict[Path, Print] = {}
    for one in data_sets(prepared):
        inputs[one.kind.partition("-")[0]][one.name] = one.fingerprint
    if recipe.method not in ALGORITHMS:
        inputs["method"] = of_code(recipe.method)
    for known, members in (
        ("reward", prepared.rewards.members if prepared.rewards else []),
        ("metric", prepared.metrics.members),
    ):
        for member in members:
            word = "judge" if isinstance(member.function, JudgedReward) and known == "reward" else known
            for name, one in _of_reward(member.spec, member.function, read).items():
                alone = ":" in member.spec.use and inputs[word].get(name, one) == one
                inputs[word][name if alone else f"{member.spec.label}: {name}"] = one
    template = prepared.facts.tokenizer.chat_template
    if template:
        text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
        inputs["template"]["the chat template"] = of_text(text)
    inputs["tokenizer"] = of_tokenizer(recipe.model.path)
    inputs["model"] = of_model(recipe.model.path, read)
    if recipe.critic and recipe.critic.path:
        inputs["critic"] = of_model(recipe.critic.path, read)
    return {word: prints for word, prints in inputs.items() if prints}


def of_code(path: str) -> Prints:
    """Of `file.py:name` or `package.module:name`: the files it is made of; of what a notebook or script defines, where
    nothing else could be told apart, its own text."""
    where, _, name = path.rpartition(":")
    if where.endswith(".py"):
        return {path: of_file(file) for path, file in _imported_by(Path(where)).items()}
    module = sys.modules.get(where)
    file = getattr(module, "__file__", None)
    if where == "__main__" or not isinstance(file, str) or not file.endswith(".py"):
        return _of_object(name, vars(module).get(name) if module else None)
    return {path: of_file(one) for path, one in modules_of(Path(file), where).items()}


def _imported_by(file: Path) -> dict[str, Path]:
    """The files that a file of code is made of, as they are imported: also those that lie elsewhere."""
    modules = modules_of(file)
    elsewhere = _shadowed_by(file, modules)
    beside = {p: one for p, one in modules.items() if p.partition("/")[0].removesuffix(".py") not in elsewhere}
    for top, origin in elsewhere.items():
        beside |= {f"{top} elsewhere: {path}": one for path, one in modules_elsewhere(modules, top, origin).items()}
    return beside


def _shadowed_by(file: Path, modules: Mapping[str, Path]) -> dict[str, Path]:
    return shadowed({path: one for path, one in modules.items() if path != file.name})


def imported_from_elsewhere(uses: Sequence[str]) -> list[str]:
    """What files of the user's code import from elsewhere though a file of that name lies beside them, in words."""
    paths = [form_of(use)[1].rpartition(":")[0] for use in uses]
    files = [Path(path) for path in paths if path.endswith(".py")]
    return [
        f"{file} imports {top!r} from {str(origin)!r}, and not what lies beside it: the run is made of that one"
        for file in dict.fromkeys(files)
        for top, origin in _shadowed_by(file, modules_of(file)).items()
    ]


def _of_object(name: str, thing: Any) -> Prints:
    try:
        return {name: of_text(inspect.getsource(cast("type", thing if inspect.isroutine(thing) else type(thing))))}
    except (OSError, TypeError):  # defined where no text was kept
        return {}


def _of_reward(spec: RewardSpec, function: RewardFunction | JudgedReward, read: dict[Path, Print]) -> Prints:
    """Of what a reward is made of: code of the user's, or the files and models that a built-in one reads."""
    if ":" in spec.use:
        return of_code(form_of(spec.use)[1])
    named = [str(spec.args[key]) for key in FILES if isinstance(spec.args.get(key), str)]
    prints: Prints = {Path(name).name: of_file(Path(name).expanduser()) for name in named}
    folders: list[str] = []
    if isinstance(function, LearnedReward):
        folders = [folder for one in function.specs for folder in one.folders]
    elif isinstance(function, JudgedReward) and function.asker.spec.url is None:
        folders = [latest_model(function.asker.spec.model)]
    for number, folder in enumerate(folders, 1):
        before = f"model {number}/" if len(folders) > 1 else ""
        prints |= {f"{before}{name}": one for name, one in of_model(folder, read).items()}
    return prints
