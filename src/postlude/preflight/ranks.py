"""Section `ranks`: where several trainers run, how evenly they share an update, what each holds, and what one that is
lost costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from postlude.batch import pack
from postlude.data import Group
from postlude.engines.gpus import gpus_here
from postlude.engines.ranks.shares import Effort, Shares, share_out
from postlude.engines.ranks.shipping import ShippedBatch
from postlude.errors import ConfigError
from postlude.footprint import others_of, setting_of, shape_of, short_of_ranks, work_of
from postlude.preflight.commits import written_bytes
from postlude.preflight.report import Section
from postlude.prepared import Prepared
from postlude.recipe import Recipe
from postlude.recipe.ranking import units_of
from postlude.sizing import estimate
from postlude.sizing.ranks import shared_out
from postlude.words import counted, size

MOST = 4096
"""Answers that are shared out on trial."""
UNEVEN = 1.5
"""Work of the fullest rank over the mean, above which a user hears of it: as the doctor's rule has it."""


def look_at_ranks(prepared: Prepared) -> Section | None:
    """What is known without weights; None where this process trains alone."""
    recipe = prepared.recipe
    if recipe.engine.trainers == 1:
        return None
    section = Section("ranks", "Trainer ranks")
    section.figures["trainers"] = recipe.engine.trainers
    section.summary = _placed(recipe)
    section.table.append(("sampling", _sampled_by(recipe)))
    _memory(prepared, section)
    if recipe.algorithm.source == "rollout":
        units, noun = units_of(recipe)
        section.table.append(("an update", f"up to {counted(units, noun)}, shared out by length once they are there"))
    else:
        look_at_shares(prepared, prepared.items[: recipe.prompts_per_step], section)
    _lost(prepared, section)
    section.table.append(("not tried", "this check answers in one process; postlude engine check starts the ranks"))
    return section


def _placed(recipe: Recipe) -> str:
    held = recipe.engine
    ranks = counted(held.trainers, "rank")
    if held.address != "local":
        return f"{ranks} on the Ray cluster at {held.address}, FSDP2 {held.dtype}"
    gpus = held.device != "cpu" and gpus_here() > 0
    return f"{ranks} on this machine, {'a GPU each' if gpus else 'on the CPU'}, FSDP2 {held.dtype}"


def _sampled_by(recipe: Recipe) -> str:
    if recipe.servers:
        return "by servers, which get the trained weights through the run folder"
    if recipe.algorithm.source == "rollout" or recipe.data.eval:
        return "by this process, in a copy of the weights that it gets through the run folder"
    return "nothing is sampled"


def _memory(prepared: Prepared, section: Section) -> None:
    """Of each rank at its worst moment; nothing of a model whose shape is not known."""
    recipe = prepared.recipe
    try:
        shape, setting = shape_of(recipe.model.path), setting_of(recipe, work_of(prepared), others_of(prepared))
        whole, rank = estimate(shape, setting), estimate(shape, shared_out(setting, recipe.engine.trainers))
    except ConfigError:
        return
    section.figures |= {"rank_bytes": rank.peak, "alone_bytes": whole.peak}
    text = f"about {size(rank.peak)} on each rank, by arithmetic; {size(whole.peak)} in one process"
    section.table.append(("memory", text))
    if short := short_of_ranks(prepared):
        section.broken("out-of-memory", short, "Set what it names.")


def look_at_shares(prepared: Prepared, groups: Sequence[Group], section: Section) -> None:
    """How evenly an update of such answers is shared out: of rows themselves, or of answers that were sampled."""
    recipe = prepared.recipe
    shares = _shares(recipe, groups)
    if shares is None:
        return
    ratio, ranks = shares.imbalance, recipe.engine.trainers
    section.figures |= {"imbalance": round(ratio, 3), "repeated_tokens": shares.repeated}
    section.table = [row for row in section.table if row[0] != "an update"]
    units, noun = units_of(recipe)
    again = f", {counted(shares.repeated, 'token')} of prompts on more than one" if shares.repeated else ""
    text = f"{counted(units, noun)} over {ranks} ranks: the fullest has {ratio:.2f} times the mean{again}"
    section.table.insert(1, ("an update", text))
    if ratio > UNEVEN:
        section.warn(
            "ranks-uneven",
            f"the rank with most of an update has {ratio:.2g} times the mean to do, and the others wait for it: "
            f"{1 - 1 / ratio:.0%} of training is waiting.",
            "Draw more at a time (prompts_per_step), or take fewer ranks (engine.trainers).",
        )


def _shares(recipe: Recipe, groups: Sequence[Group]) -> Shares | None:
    """An update as large as the recipe's, of these groups, taken again where they are too few; None of none."""
    there = [group for group in groups if group.completions]
    if not there:
        return None
    try:
        effort = Effort.of(shape_of(recipe.model.path))
    except ConfigError:  # of another build: lengths alone are known
        effort = Effort()
    units, noun = units_of(recipe)
    each = sum(len(group.completions) for group in there) / len(there) if noun == "answer" else 1.0
    wanted = min(max(1, round(units / each)), max(1, MOST // len(there[0].completions)))
    update = ShippedBatch.of(pack([replace(group) for group in islice(cycle(there), wanted)]))
    return share_out(update, recipe.engine.trainers, effort, keeps_groups=not recipe.objective.splits_groups)


def _lost(prepared: Prepared, section: Section) -> None:
    held, every = prepared.recipe.engine, prepared.recipe.commit_every
    section.figures |= {"commit_every": every, "restarts": held.restarts, "timeout": held.timeout}
    sizes = written_bytes(prepared)
    if sizes is not None:
        section.figures["commit_bytes"] = sizes[1]
    each = f" of {size(sizes[1])}" if sizes else ""
    when = "after every step" if every == 1 else f"every {every} steps"
    section.table += [
        ("commits", f"one{each} {when}; the newest stays"),
        (
            "a lost rank",
            f"is one that died, or said nothing for {held.timeout:.0f} s. All start again from the newest commit and "
            f"make up for what came after it, {counted(held.restarts, 'time')} at most without a finished step between",
        ),
    ]
