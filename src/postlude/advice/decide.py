"""Evidence to advice: the tables asked one after the other. Pure: the same evidence, the same advice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from postlude.advice.cautions import cautions_of, without_fit
from postlude.advice.duration import Time, time_of
from postlude.advice.evidence import WORDS, Evidence
from postlude.advice.room import Room
from postlude.advice.routes import ROUTES, Fit, Miss, Reason, in_order
from postlude.advice.settings import Setting, room_of, settings_of, watch
from postlude.advice.shapes import Feedback
from postlude.advice.stops import STOPS, Stop


@dataclass(frozen=True)
class Rejected:
    """What was not chosen."""

    name: str
    why: str
    unless: str


@dataclass(frozen=True)
class Stage:
    """What follows once this run is done."""

    method: str
    why: str


@dataclass(frozen=True)
class Advice:
    """The answer."""

    verdict: Literal["train", "first", "do not train", "name the columns"]
    """`first`: something easier comes before what the data are for."""
    headline: str
    evidence: Evidence
    method: str | None = None
    feedback: Feedback | None = None
    first: str = ""
    """What to do before this run."""
    reasons: tuple[Reason, ...] = ()
    then: tuple[Stage, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    warnings: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    """Where nothing is to be trained."""
    unless: str = ""
    settings: tuple[Setting, ...] = field(default=())
    room: Room | None = None
    time: Time | None = None
    watch: tuple[tuple[str, str], ...] = ()

    @property
    def plan(self) -> tuple[str, ...]:
        """The methods in order."""
        return (*([self.method] if self.method else []), *(stage.method for stage in self.then))


def decide(e: Evidence) -> Advice:
    """What to do with these data."""
    stop = next(filter(None, (look(e) for look in STOPS)), None)
    if stop is not None:
        return _stopped(e, stop)
    looked_at = [(route, route.look(e)) for route in ROUTES]
    fitting = [(route, fit) for route, fit in looked_at if isinstance(fit, Fit)]
    chosen, fit = fitting[0]
    same = _family(fit.method)
    missed = [
        Rejected(route.name, miss.why, miss.unless)
        for route, miss in looked_at
        if isinstance(miss, Miss) and route.name not in same
    ]
    others = [_later(route.name, fit, other) for route, other in fitting[1:] if other.method != fit.method]
    part = e.part(fit.feedback)
    assert part is not None
    room = room_of(e, fit)
    then = _then(e, fit)
    first = chosen.name in ("sft or rft before RL", "sft first")
    return Advice(
        "first" if first else "train",
        _headline(fit, then, room, e),
        e,
        fit.method,
        fit.feedback,
        fit.first,
        fit.reasons,
        then,
        (*others, *sorted(missed, key=_known)),
        (*_no_room(room, e), *cautions_of(e, fit, part)),
        settings=tuple(settings_of(e, fit, room)),
        room=room,
        time=time_of(e, fit, part, room),
        watch=tuple(watch(fit)),
    )


def _family(method: str) -> tuple[str, ...]:
    """Names of routes to the same method by other rows: it is advised, so they are not what it is rather than."""
    name = "dpo" if method in ("dpo", "cdpo", "dpo_length_normalised") else method
    return (name, f"{name} on lists", f"{name} first")


def _known(one: Rejected) -> int:
    """Those that people ask for first."""
    return WELL_KNOWN.index(one.name) if one.name in WELL_KNOWN else len(WELL_KNOWN)


WELL_KNOWN = ("dpo", "grpo on what is verified", "ppo", "sft", "kto", "RLAIF: grpo with a judge")


def _stopped(e: Evidence, stop: Stop) -> Advice:
    return Advice(
        stop.verdict,
        stop.headline,
        e,
        reasons=stop.reasons,
        instead=stop.instead,
        unless=stop.unless,
        warnings=without_fit(e),
    )


def _headline(fit: Fit, then: tuple[Stage, ...], room: Room | None, e: Evidence) -> str:
    after = "".join(f", then {stage.method}" for stage in then)
    on = f" on {WORDS[fit.feedback]}"
    if room is not None and not room.fits and e.model is not None:
        beside = " with a judge as large" if room.part("judge") else ""
        largest = f"at most about {room.largest:g} B{beside} would" if room.largest else "no model would"
        return f"{fit.method}{after}, but {e.model.path} does not fit here: {largest}"
    return f"{fit.lead}{fit.method}{on}{after}"


def _no_room(room: Room | None, e: Evidence) -> tuple[str, ...]:
    if room is None or room.fits or e.device is None:
        return ()
    least = min(gib for _, gib in room.tried)
    judge = room.part("judge")
    beside = " with a judge as large" if judge else ""
    largest = (
        f"a model of about {room.largest:g} B{beside} would" if room.largest else "not even the smallest models would"
    )
    served = (
        f". {judge:.1f} GiB of it are the judge, counted as large as the model: a smaller one, or one on a server "
        "(reward.args.url), takes less"
        if judge
        else ""
    )
    return (
        f"it does not fit: the leanest way, {room.holding.words}, takes about {least:.1f} GiB and "
        f"{room.available:.1f} GiB can be planned "
        f"with; {largest}{served}. The recipe names no model for that reason",
    )


def _later(name: str, fit: Fit, other: Fit) -> Rejected:
    if other.feedback == fit.feedback:
        return Rejected(
            name, f"possible, but {fit.method} goes before it: {fit.reasons[0].text}", f"{fit.method} brings nothing"
        )
    return Rejected(name, f"{WORDS[fit.feedback]} say more, or come first", f"without the {WORDS[fit.feedback]}")


ORDER: tuple[tuple[str, tuple[Feedback, ...], str], ...] = (
    ("sft", ("answers",), "written answers"),
    ("dpo", ("pairs", "lists"), "preferences refine what SFT has taught"),
    ("kto", ("thumbs",), "thumbs refine it further"),
    ("grpo", ("tests", "golds"), "what can be verified is rewarded last, from the best start"),
)
"""Stages as they follow each other, with the feedback of each."""


def _then(e: Evidence, fit: Fit) -> tuple[Stage, ...]:
    """The stages after this one that other rows are for."""
    if fit.method == "reward_model_process":
        return (Stage("grpo_process", "GRPO rewarded by this process model, step by step (recipes/process.yaml)"),)
    if fit.method.startswith("reward_model"):
        return (
            Stage(
                "grpo",
                "RL under this reward model: reward={use: model, args: {path: RUN}}; hold the policy near its start",
            ),
        )
    place = next((i for i, (_, kinds, _) in enumerate(ORDER) if fit.feedback in kinds), len(ORDER))
    if fit.feedback == "prompts":
        return (Stage("grpo", "once some prompts are solved"),) if fit.method == "rft" else ()
    stages: list[Stage] = []
    for method, kinds, why in ORDER[place + 1 :]:
        part = e.part(*kinds)
        if part is not None:
            stages.append(Stage(method, f"{why}: {in_order(part)}"))
    if e.reward and fit.feedback == "answers" and not stages:
        stages.append(Stage("grpo", f"the reward {e.reward['use']} judges the model's own answers to the same prompts"))
    if fit.method in ("rft", "sft") and fit.feedback in ("tests", "golds"):
        stages.append(Stage("grpo", "once some prompts are solved"))
    return tuple(stages)
