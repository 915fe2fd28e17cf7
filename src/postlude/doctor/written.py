"""Rules on runs over rows of a file, written or judged: what is held out against what is trained on."""

from __future__ import annotations

from postlude.doctor.progress import NOW, START
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track
from postlude.doctor.windows import Window

WORSE = 0.05
"""Of the lowest held-out loss: two evaluations in a row beyond it are no chance."""
TWICE = 2
MANY_EPOCHS = 10.0
"""Passes over the rows: InstructGPT's 16 of SFT are the most that anybody reports to help."""
MANY_DRAWS = 20.0
"""The same where answers are sampled, which are other ones each time."""
LATE = 50
FELL = 0.02
"""Of the loss at the start: less is none."""
LEARNED = 0.05
"""Nats per token (or the method's loss): nothing is left to learn of such rows."""

LOSSES = "loss/policy|loss/pairs|loss/points|loss/lists|loss/steps"


def overfitting(track: Track) -> Finding | None:
    """A held-out loss that rises from its lowest while the trained one falls on."""
    findings = (_overfitting_by(track, held) for held in _held_out(track))
    return next((finding for finding in findings if finding is not None), None)


def _overfitting_by(track: Track, held: Column) -> Finding | None:
    lowest = min(range(len(held)), key=held.values.__getitem__)
    since = Window(held.name, tuple(held.steps[lowest:]), tuple(held.values[lowest:]))
    bound = since.values[0] + WORSE * abs(since.values[0])
    if len(since) <= TWICE or min(since.values[-TWICE:]) <= bound:
        return None
    trained = track.get(held.name.removeprefix("held_out/"))
    if not _fell(trained, held.steps[lowest]):
        return None
    text = (
        f"the held-out loss rises: {since.values[0]:.3g} after step {since.steps[0]}, its lowest, and "
        f"{since.values[-1]:.3g} after step {since.steps[-1]}, while the trained loss has fallen to "
        f"{trained.last(NOW).mean:.3g}"
    )
    return seen(held.last(len(since) - 1), since.values[-1], bound, text, f"steps={max(since.steps[0], 1)}")


def _held_out(track: Track) -> list[Column]:
    """The losses on held-out rows; of a likelihood term beside a preference loss too, which rises before that does."""
    names = [f"held_out/{name}" for name in (*LOSSES.split("|"), "loss/nll")]
    return [track[name] for name in names if len(track.get(name)) > TWICE]


def _fell(trained: Column, since: int) -> bool:
    """Whether the trained loss is no higher now than around a step."""
    around = [value for step, value in zip(trained.steps, trained.values, strict=True) if abs(step - since) <= NOW // 2]
    return bool(around) and trained.last(NOW).mean <= sum(around) / len(around)


def repeated(track: Track) -> Finding | None:
    """Rows that are gone through very often."""
    passes = _passes(track)
    if passes < (MANY_EPOCHS if track.kind != "sampled" else MANY_DRAWS):
        return None
    planned = ""
    if track.steps > track.step:
        planned = f", and {passes / track.step * track.steps:.0f} times by the end"
    text = f"every row has been gone through {passes:.0f} times{planned}: what is learnt by heart is no skill"
    fewer = max(round(track.step * MANY_EPOCHS / 3 / passes), 1)
    return seen(track.first_of("epoch|samples").last(1), passes, MANY_EPOCHS, text, f"steps={fewer}")


def _passes(track: Track) -> float:
    """Over the rows: as logged, or prompts drawn by rows of the file; 0 where neither is known."""
    if "epoch" in track:
        return track["epoch"].newest
    return track.step * (track.number("prompts_per_step") or 0.0) / track.rows if track.rows else 0.0


def flat_loss(track: Track) -> Finding | None:
    """A loss that has not fallen."""
    column = track.first_of(LOSSES)
    after = int(track.number("schedule.warmup") or 0)
    change = column.change(START, 2 * NOW)
    if change is None or track.step < LATE + after or change.before.mean <= LEARNED:
        return None
    if change.falls and change.difference < -FELL * abs(change.before.mean):
        return None
    text = (
        f"the loss is where it was: {change.before.mean:.3g} in the first {START} steps, {change.after.mean:.3g} in "
        f"the last {2 * NOW}"
    )
    return seen(change.after, change.after.mean, (1 - FELL) * change.before.mean, text, track.times("schedule.lr", 10))


RULES = (
    Rule(
        name="overfitting",
        symptom="the held-out loss rises while the trained one falls",
        reads=("|".join(f"held_out/{name}" for name in LOSSES.split("|")), LOSSES),
        threshold=f"{TWICE} evaluations in a row more than {WORSE:.0%} above the lowest",
        cause="rows are learnt by heart: too many passes over too few of them, or too high a rate.",
        remedy="Stop at the lowest (checkpoints.best=held_out/loss/policy keeps it), train for fewer steps, take more "
        "rows, or a lower LoRA rank.",
        source="section 1 of docs/specification.md; the share is chosen",
        check=overfitting,
        kinds=("judged", "written"),
        points=TWICE + 1,
        unseen="hold rows out (data.eval; pairs, for a preference method) and measure often (evaluate.every). Where a "
        "reward is set, held-out prompts are answered and scored instead, and the loss on them is not measured",
    ),
    Rule(
        name="repeated-rows",
        symptom="rows are gone through very often",
        reads=("epoch|samples",),
        threshold=f"{MANY_EPOCHS:g} passes ({MANY_DRAWS:g} where answers are sampled)",
        cause="more steps than the file has rows for.",
        remedy="Take fewer steps or more rows; 1 to 3 passes are usual.",
        source="section 1 of docs/specification.md",
        check=repeated,
        gravity="hint",
    ),
    Rule(
        name="flat-loss",
        symptom="the loss does not fall",
        reads=(LOSSES,),
        threshold=f"after {LATE} steps (behind the warm-up) no more than {FELL:.0%} below the first {START}",
        cause="the rate is too low, or the rows hold nothing that the model does not know.",
        remedy="Raise schedule.lr (sft 2e-5 with all weights, 2e-4 under LoRA); read some rows (postlude data check).",
        source="training notes, debugging table; section 1 of docs/specification.md",
        check=flat_loss,
        follows=("preferences-unmoved", "pairs-at-chance", "loss-rises"),
        gravity="hint",
        kinds=("judged", "written"),
        points=START + 2 * NOW,
    ),
)
