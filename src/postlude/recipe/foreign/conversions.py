"""Conversions that rows of several tables name with `by`: (their value, what is around it) -> our keys and values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from postlude.recipe.foreign.alias import Convert, Ineffective, Outputs, Untranslatable, View, lacking, listed

CONVERSIONS: dict[str, Convert] = {}
VLLM_PYTHON = ".venv-vllm/bin/python"
"""Where `make vllm-env` puts an interpreter that has vLLM."""


def conversion(convert: Convert) -> Convert:
    """Make a function known to the tables under its own name."""
    CONVERSIONS[convert.__name__] = convert
    return convert


@conversion
def kl_weight(value: Any, view: View) -> Outputs:
    """A KL coefficient goes where the method has one: in its link, its reward, or its loss (0 switches that off)."""
    if view.ours("objective.score") == "log_odds":
        return {"objective.link_coef": value}
    for path in ("objective.link.beta", "objective.advantage.kl_coef"):
        if view.has(path):
            return {path: value}
    return kl_loss_weight(value, view)


@conversion
def kl_loss_weight(value: Any, view: View) -> Outputs:
    """The coefficient of a KL term in the loss; 0 switches the term off."""
    if view.ours("objective.hinge"):
        raise Untranslatable(
            f"method {view.method} holds the policy back with objective.hinge, not with a KL coefficient"
        )
    if view.ours("objective.kind") != "token":
        raise lacking(view, "objective.kl.coef")
    return {"objective.kl": None} if float(value) == 0 else {"objective.kl.coef": value}


@conversion
def clip_both(value: Any, view: View) -> Outputs:
    """One number for both sides of the clip."""
    if view.ours("objective.surrogate.kind") == "cispo":
        raise Untranslatable("cispo caps the ratio itself: give objective.surrogate.ratio_max (5 is its default)")
    return {"objective.surrogate.low": value, "objective.surrogate.high": value}


@conversion
def share_of_steps(value: Any, view: View) -> Outputs:
    """Warm-up as a share of the run. A file that leaves the number of steps open leaves this open too."""
    if value and view.theirs("importing") and "steps" not in view.values:
        raise Untranslatable(f"a share of the steps, which the file leaves open: schedule.warmup = {value:g} x steps")
    return {"schedule.warmup": math.ceil(value * view.ours("steps", 100))}


@conversion
def lora_rank(value: Any, view: View) -> Outputs:
    """0 is no adapter."""
    return {"model.lora": None} if value == 0 else {"model.lora.rank": value}


@conversion
def decay(value: Any, view: View) -> Outputs:
    """Their schedules fall to 0 unless a share is given; a constant one has no last rate."""
    name = {"constant_with_warmup": "constant", "cosine_with_min_lr": "cosine"}.get(value, value)
    if name not in ("constant", "linear", "cosine"):
        raise Untranslatable(f"no schedule {value!r} here; there are constant, linear and cosine")
    last = {} if name == "constant" else {"schedule.final": view.beside("min_lr_ratio", 0.0)}
    return {"schedule.decay": name} | last


def server_of_our_own(colocate: bool) -> Outputs:
    """One vLLM server that postlude starts, from the environment that `make vllm-env` makes."""
    servers = {"count": 1, "python": VLLM_PYTHON, "colocate": colocate}
    return {f"engine.servers.{name}": value for name, value in servers.items()}


def server_args(options: Mapping[str, Any]) -> list[str]:
    """vLLM's command line for options that were given."""
    return [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]


PER_NODE = {"nnodes": "n_gpus_per_node", "actor_num_nodes": "actor_num_gpus_per_node"}
"""How many nodes -> how many GPUs of each, in their names."""


@conversion
def gpus_of_nodes(_: Any, view: View) -> Outputs:
    """A trainer for each GPU of all nodes; where those are several, Ray runs on them already, there and here."""
    count, each = next(pair for pair in PER_NODE.items() if view.row.name.endswith(pair))
    nodes, gpus = view.beside(count, 1), view.beside(each)
    if gpus is None:
        raise Untranslatable(f"{view.section}{each} is not given, so how many GPUs a node has is not known")
    address = {"engine.address": "auto"} if int(nodes) > 1 else {}
    return {"engine.trainers": int(nodes) * int(gpus)} | address


@conversion
def at_least_0(value: Any, view: View) -> Outputs:
    """Numbers below 0 are off, which is 0 here."""
    return {view.row.ours[0]: max(int(value), 0)}


@conversion
def if_positive(value: Any, view: View) -> Outputs:
    """Numbers of 0 and below leave what holds without the option."""
    if value <= 0:
        raise Ineffective("off, as here without it")
    return {view.row.ours[0]: value}


@conversion
def one_file(value: Any, view: View) -> Outputs:
    files = listed(value)
    if len(files) != 1:
        raise Untranslatable("several files: give them as data.mix, each with a weight; see docs/data.md")
    return {view.row.ours[0]: files[0]}


@conversion
def held_out_files(value: Any, view: View) -> Outputs:
    """One file, or a set for each, called after its folder too where two have the same name."""
    files = listed(value)
    if len(files) == 1:
        return {view.row.ours[0]: files[0]}
    paths = [PurePath(str(file)) for file in files]
    stems = [path.stem for path in paths]
    named = [f"{p.parent.name}-{p.stem}" if p.parent.name and stems.count(p.stem) > 1 else p.stem for p in paths]
    return {view.row.ours[0]: [{"path": str(p), "name": name} for p, name in zip(files, named, strict=True)]}


@conversion
def pair(value: Any, view: View) -> Outputs:
    """A list of two numbers."""
    return {path: value[i] for i, path in enumerate(view.row.ours)}


@conversion
def draws(value: Any, view: View) -> Outputs:
    """Optimiser steps as draws, of which each is several."""
    return {view.row.ours[0]: math.ceil(value / view.passes)}


@conversion
def if_on(value: Any, view: View) -> Outputs:
    if not value:
        raise Ineffective("off")
    return {view.row.ours[0]: view.row.looked_up(value)}


@conversion
def columns(value: Any, view: View) -> Outputs:
    """Their options that name columns, together: the row's table says which name of ours each stands for."""
    wanted = {ours: view.theirs(theirs) for theirs, ours in (view.row.values or {}).items()}
    renamed = {ours: column for ours, column in wanted.items() if column not in (None, ours)}
    if not renamed:
        raise Ineffective("as it is here anyway")
    return {"data.columns": renamed}
