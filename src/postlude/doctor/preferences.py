"""Rules on compared and labelled answers: preference methods and reward models."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

from postlude.doctor.progress import NOW
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track
from postlude.doctor.windows import LIKELY, Change

MOST_DISPLACED = 0.5
"""Share of pairs whose chosen answer lost probability: some of it is usual, most of the pairs is not."""
LASTING = 5
CHANCE = 0.5
NEAR_CHANCE = 0.05
"""Above one half: the upper end of its interval lies below."""
LATE = 50
"""Steps after which pairs that can be learned are told apart."""
MARGIN_GREW = 1.5
"""Factor of the margin over the second half of the window."""
HARDLY_ROSE = 1.1
"""Factor of the lowest held-out loss, up to which it may be noise of the rows that are held out."""
SURE = 0.9
"""Accuracy from which on a growing margin is no news."""
LONG = 20
UNMOVED = 0.002
"""Score of the method (beta times nats): at beta 0.1 a fiftieth of a nat per answer, after 30 steps."""
UNMOVED_STEPS = 30
ADVISED = (1.0, 4 / 3)
"""Good to bad answers, weighted (KTO)."""
BEYOND = 3.0
"""Times that: what is advised is no limit, and batches are small."""


def displacement(track: Track) -> Finding | None:
    """Of the pairs of a preference method, the share whose chosen answer lost probability."""
    share = track["displaced_frac"].last(LASTING)
    if share.mean <= MOST_DISPLACED or share.values[-1] <= MOST_DISPLACED:
        return None
    text = (
        f"likelihood displacement: in {share.mean:.0%} of the pairs of the last {len(share)} steps the chosen answer "
        "has become less likely than under the reference, although the margin grew"
    )
    return seen(share, share.mean, MOST_DISPLACED, text, "objective.nll=0.2")


def at_chance(track: Track) -> Finding | None:
    """Pairs that are not told apart after long."""
    accuracy = track.first_of("held_out/rewards/accuracy") if _held_out(track) else track["rewards/accuracy"]
    window = accuracy.last(LONG if accuracy.name == "rewards/accuracy" else 3)
    error = window.std / math.sqrt(len(window)) if len(window) > 1 else 0.0
    if window.mean + LIKELY * error >= CHANCE + NEAR_CHANCE:
        return None
    text = (
        f"{window.mean:.1%} of the {'held-out ' if accuracy.name.startswith('held') else ''}pairs are told apart over "
        f"the last {len(window)} {'evaluations' if accuracy.name.startswith('held') else 'steps'}, which is chance, "
        f"after {track.step} steps"
    )
    if _hardly_moved(track):
        return seen(window, window.mean, CHANCE + NEAR_CHANCE, text, track.times("schedule.lr", 3))
    text += ", although the policy has moved: the rate is not what is wrong"
    return replace(seen(window, window.mean, CHANCE + NEAR_CHANCE, text), command=_look_at(track))


def _look_at(track: Track) -> str:
    """The command that finds rows which say opposite things; none where the recipe says no file."""
    path = track.setting("data.path")
    return f"postlude data check {shlex.quote(path)}" if isinstance(path, str) else ""


def _hardly_moved(track: Track) -> bool:
    """Whether the scores are still those of the reference: a rate that has moved them teaches what pairs say."""
    sides = [track.get(f"rewards/{side}").last(NOW) for side in ("chosen", "rejected")]
    return all(side.all(lambda value: abs(value) < UNMOVED) for side in sides)


def _held_out(track: Track) -> bool:
    return len(track.get("held_out/rewards/accuracy")) >= 3


def margin_alone(track: Track) -> Finding | None:
    """A margin that grows while no more pairs are told apart."""
    grown, right = (_lately(_best(track, f"rewards/{name}")) for name in ("margin", "accuracy"))
    if grown is None or right is None or right.after.mean >= SURE:
        return None
    if not grown.rises or grown.before.mean <= 0 or grown.factor < MARGIN_GREW or right.rises:
        return None
    held = track.get("held_out/loss/pairs")
    if len(held) > 1 and held.newest <= HARDLY_ROSE * min(held.values[:-1]):
        return None  # pairs that were never trained on are told apart better than before
    text = (
        f"the margin has grown from {grown.before.mean:.3g} to {grown.after.mean:.3g} while accuracy stands at "
        f"{right.after.mean:.0%} (from {right.before.mean:.0%}): pairs that were right become more so, and no others"
    )
    return seen(grown.after, grown.factor, MARGIN_GREW, text, track.times("objective.link.beta", 3))


def _lately(column: Column) -> Change | None:
    """The newest values against those two windows before."""
    return column.change(NOW, NOW, max(len(column) - 3 * NOW, 0))


def _best(track: Track, name: str) -> Column:
    """The held-out column where it is long enough, since the trained one is seen again and again."""
    held = track.get(f"held_out/{name}")
    return held if len(held) >= 3 * NOW else track[name]


def unmoved(track: Track) -> Finding | None:
    """Scores of the method that are where they began."""
    sides = [track["rewards/chosen"].last(NOW), track["rewards/rejected"].last(NOW)]
    largest = max(abs(value) for side in sides for value in side.values)
    warmup = track.number("schedule.warmup") or 0
    if track.step < UNMOVED_STEPS + warmup or largest >= UNMOVED:
        return None
    text = (
        f"after {track.step} steps the policy scores chosen and rejected answers within {largest:.1g} of the "
        "reference: the updates are too small"
    )
    return seen(sides[0], largest, UNMOVED, text, track.times("schedule.lr", 10))


def one_sided(track: Track) -> Finding | None:
    """Labels of one kind that outweigh the other: the weighted counts of good to bad answers."""
    good = track["reward/mean"].last(LONG)
    share = min(max(good.mean, 0.0), 1.0)
    up, down = (
        track.number("objective.link.lam_desirable") or 1.0,
        track.number("objective.link.lam_undesirable") or 1.0,
    )
    ratio = up * share / (down * (1 - share)) if share < 1 else math.inf
    if ADVISED[0] / BEYOND <= ratio <= ADVISED[1] * BEYOND:
        return None
    text = (
        f"{share:.0%} of the answers are labelled good, which with their weights is {ratio:.3g} to 1 against the bad "
        f"ones: one side moves the policy alone"
    )
    bound = ADVISED[1] * BEYOND if ratio > 1 else ADVISED[0] / BEYOND
    fix = None if share in (0.0, 1.0) else f"objective.link.lam_desirable={down * (1 - share) / share:.3g}"
    return seen(good, ratio, bound, text, fix)


RULES = (
    Rule(
        name="displacement",
        symptom="chosen answers lose probability",
        reads=("displaced_frac",),
        threshold=f"more than {MOST_DISPLACED:.0%} of the pairs displaced over {LASTING} steps",
        cause="a margin grows also where both answers sink: the loss goes by the difference alone.",
        remedy="Where answers get worse, add a likelihood term (objective.nll=0.2), take method ipo, or lower the "
        "rate.",
        source="section 5 of docs/specification.md; half is chosen",
        check=displacement,
        kinds=("judged",),
        where=lambda track: "displaced_frac" in track,
        points=LASTING,
    ),
    Rule(
        name="pairs-at-chance",
        symptom="pairs are not told apart",
        reads=("rewards/accuracy", "loss/pairs"),
        threshold=f"an accuracy whose 95 % interval over {LONG} steps ends below {CHANCE + NEAR_CHANCE}, after {LATE} "
        "steps; of three held-out evaluations where there are such",
        cause="labels that are noise or the wrong way round, a rate that is too low, or too few pairs (below about "
        "2000 a reward model is near chance).",
        remedy="Look at the pairs (postlude data check counts those that say opposite things); raise schedule.lr where "
        "scores have not moved; take more pairs.",
        source="section 13 of docs/specification.md, 2210.10760",
        check=at_chance,
        follows=("preferences-unmoved",),
        kinds=("judged",),
        where=lambda track: "loss/pairs" in track,
        points=LATE,
    ),
    Rule(
        name="margin-alone",
        symptom="the margin grows, accuracy does not",
        reads=("rewards/margin", "rewards/accuracy", "loss/pairs"),
        threshold=f"the margin {MARGIN_GREW:g} times what it was {2 * NOW} steps before, accuracy no higher and below "
        f"{SURE:.0%}, and a held-out loss, if there is one, {HARDLY_ROSE:g} times its lowest",
        cause="the policy becomes surer of what it knew: overfitting to the pairs, with a beta that is too small.",
        remedy="Raise objective.link.beta, train for fewer epochs, or stop at the best held-out accuracy "
        "(checkpoints.best=held_out/rewards/accuracy).",
        source="section 5 of docs/specification.md; the factor is chosen",
        check=margin_alone,
        follows=("overfitting",),
        kinds=("judged",),
        where=lambda track: "loss/pairs" in track,
        points=3 * NOW,
    ),
    Rule(
        name="preferences-unmoved",
        symptom="the policy does not move",
        reads=("rewards/chosen", "rewards/rejected", "displaced_frac"),
        threshold=f"scores within {UNMOVED} of the reference's over {NOW} steps, after {UNMOVED_STEPS}",
        cause="the rate is too low.",
        remedy="Raise schedule.lr: preference methods take 1e-6 to 1e-5 with all weights trained, and ten times that "
        "under LoRA.",
        source="training notes, debugging table and DPO's key parameters",
        check=unmoved,
        kinds=("judged",),
        where=lambda track: "displaced_frac" in track,
        points=NOW,
    ),
    Rule(
        name="one-sided",
        symptom="labels of one kind outweigh the other",
        reads=("reward/mean", "loss/points", "rewards/mean"),
        threshold=f"weighted good to bad answers below {ADVISED[0] / BEYOND:.2g} or above {ADVISED[1] * BEYOND:g} over "
        f"{NOW} steps (KTO advises 1 to 4/3)",
        cause="most thumbs point one way: KTO then only pushes up, or only down.",
        remedy="Weigh them (objective.link.lam_desirable, objective.link.lam_undesirable), or balance the rows.",
        source="section 5 of docs/specification.md, 2402.01306; three times beyond what is advised is chosen",
        check=one_sided,
        kinds=("judged",),
        where=lambda track: "loss/points" in track and "rewards/mean" in track,
        points=NOW,
    ),
)
