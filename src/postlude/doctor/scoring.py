"""Rules on rewards as functions: whether they answer, in time, and about what they are asked."""

from __future__ import annotations

from collections.abc import Callable

from postlude.doctor.progress import NOW
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track
from postlude.doctor.windows import Window

MOST_FAILED = 0.05
"""Share of the answers that a reward could not score: those left out are not a fair sample."""
MOST_UNSCORED = 0.2
"""Share of answers without any reward: likewise, and they cost sampling."""
MOST_LATE = 0.1
"""Share of verifications that took too long: right answers count as wrong then."""
MOST_UNREADABLE = 0.5
"""Share of answers in which a verifier finds nothing to read."""
FLIPS = 0.2
"""Share of verdicts that change with the order (section 10 of the specification's judge)."""
POSITION = 0.15
"""Probability by which the answer shown first is preferred."""
VERDICTS = 20
"""So many at least."""
MOST_SILENT = 0.05
"""Share of a judge's questions without a readable verdict."""
TIES = 0.8
"""Share of comparisons without a preference."""


def failing(track: Track) -> Finding | None:
    """A reward whose calls fail."""
    answers = sum(track["samples"].last(NOW).values)
    return _worst(track, "reward/*/errors", MOST_FAILED, lambda window: sum(window.values) / max(answers, 1), _failed)


def _failed(column: Column, share: float) -> str:
    label = column.name.split("/")[1]
    return f"the reward {label} failed on {share:.0%} of the answers of the last {NOW} steps, and gave them no score"


def unscored(track: Track) -> Finding | None:
    """Answers without a reward."""
    counts, answers = track["unscored"].last(NOW), track["samples"].last(NOW)
    share = sum(counts.values) / max(sum(answers.values), 1)
    if share < MOST_UNSCORED:
        return None
    text = f"{share:.0%} of the answers of the last {len(counts)} steps got no reward: a gate or a reward abstained"
    return seen(counts.showing(), share, MOST_UNSCORED, text)


def late(track: Track) -> Finding | None:
    """Verifications that took too long."""
    return _worst(track, "*/timeout", MOST_LATE, lambda window: window.mean, _late)


def _late(column: Column, share: float) -> str:
    return f"{column.name} is {share:.0%} over {NOW} steps: so many verifications took too long, and count as wrong"


def unreadable(track: Track) -> Finding | None:
    """Answers in which the maths verifier finds no value, or the code reward no program."""
    for pattern in ("*/unparsable", "*/no_program"):
        finding = _worst(track, pattern, MOST_UNREADABLE, lambda window: window.mean, _unreadable)
        if finding is not None:
            return finding
    return None


def _unreadable(column: Column, share: float) -> str:
    what = "no program" if column.name.endswith("no_program") else "no value that can be read"
    return f"{share:.0%} of the answers of the last {NOW} steps hold {what}: they are wrong whatever they say"


def silent_judge(track: Track) -> Finding | None:
    """Questions that the judge did not answer, or not so that it could be read."""
    silent = [track.get(f"judge/{name}").last(NOW) for name in ("failed", "unreadable")]
    asked = sum(sum(track.get(f"judge/{name}").last(NOW).values) for name in ("calls", "cached"))
    count = sum(sum(window.values) for window in silent)
    share = count / max(asked, 1)
    if count < NOW or share < MOST_SILENT:
        return None
    evidence = max(silent, key=lambda window: sum(window.values))
    text = f"the judge gave no readable verdict on {share:.0%} of its questions of the last {NOW} steps"
    return seen(evidence.showing(), share, MOST_SILENT, text)


def undecided_judge(track: Track) -> Finding | None:
    """A judge that goes by the order in which answers are shown, or has no preference."""
    bounds = {"judge/flip_rate": FLIPS, "judge/position_bias": POSITION, "judge/tie_rate": TIES}
    said = {
        "judge/flip_rate": "of the verdicts change with the order of the answers",
        "judge/position_bias": "is how much likelier the answer shown first is preferred",
        "judge/tie_rate": "of the comparisons end without a preference",
    }
    for name, bound in bounds.items():
        window = track.get(name).last(NOW)
        if len(window) == NOW and abs(window.mean) > bound:
            text = f"{abs(window.mean):.0%} {said[name]}, over {NOW} steps: the judge goes by the place, not the answer"
            return seen(window, abs(window.mean), bound, text)
    return None


def _worst(
    track: Track, pattern: str, bound: float, share_of: Callable[[Window], float], say: Callable[[Column, float], str]
) -> Finding | None:
    """The column that is furthest beyond a bound over the newest steps."""
    shares = [(share_of(column.last(NOW)), column) for column in track.matching(pattern) if len(column) >= NOW]
    if not shares:
        return None
    share, column = max(shares, key=lambda pair: pair[0])
    return None if share < bound else seen(column.last(NOW).showing(), share, bound, say(column, share))


def _judged(track: Track) -> bool:
    return "judge/calls" in track


RULES = (
    Rule(
        name="reward-fails",
        symptom="a reward fails",
        reads=("samples", "reward/*/errors"),
        threshold=f"{MOST_FAILED:.0%} of the answers of {NOW} steps",
        cause="it raises, or its service does not answer; what it leaves unscored is no fair sample.",
        remedy="The notes say what it raised. Mend it, or raise its timeout; `errors` sets how much of it a run bears.",
        source="section 0.6 of docs/specification.md; the share is chosen",
        check=failing,
        kinds=("sampled",),
        where=lambda track: bool(track.matching("reward/*/errors")),
        points=NOW,
    ),
    Rule(
        name="unscored",
        symptom="answers get no reward",
        reads=("unscored", "samples"),
        threshold=f"{MOST_UNSCORED:.0%} of the answers of {NOW} steps",
        cause="rewards abstain, or a gate that all must pass is too narrow.",
        remedy="Look at the answers without a reward in rollouts/; let the reward give 0 where it means bad.",
        source="section 0.6 of docs/specification.md; the share is chosen",
        check=unscored,
        kinds=("sampled",),
        points=NOW,
    ),
    Rule(
        name="verifier-timeouts",
        symptom="verification takes too long",
        reads=("*/timeout",),
        threshold=f"{MOST_LATE:.0%} of the answers over {NOW} steps",
        cause="programs that loop, expressions that explode, or a machine that is too busy.",
        remedy="Read such answers in rollouts/; raise the reward's own limit of time where they are honest.",
        source="docs/rewards.md; the share is chosen",
        check=late,
        kinds=("sampled",),
        where=lambda track: bool(track.matching("*/timeout")),
        points=NOW,
    ),
    Rule(
        name="unreadable-answers",
        symptom="the verifier finds nothing to read",
        reads=("*/unparsable|*/no_program",),
        threshold=f"{MOST_UNREADABLE:.0%} of the answers over {NOW} steps",
        cause="the prompt does not ask for the form that the reward reads, or answers are cut before it comes.",
        remedy="Ask for the form in the prompt, raise sampling.max_tokens, or fine-tune on answers in that form (sft).",
        source="docs/rewards.md; the share is chosen",
        check=unreadable,
        follows=("broken-policy", "cut-off", "endless"),
        kinds=("sampled",),
        where=lambda track: bool(track.matching("*/unparsable") or track.matching("*/no_program")),
        points=NOW,
    ),
    Rule(
        name="judge-silent",
        symptom="the judge gives no verdict",
        reads=("judge/calls",),
        threshold=f"{MOST_SILENT:.0%} of its questions over {NOW} steps, and {NOW} of them",
        cause="the judge's service fails, or its replies have another form than the template asks for.",
        remedy="Look at the judge's replies (its cache holds them), and at its template.",
        source="section 10 of docs/specification.md; the share is chosen",
        check=silent_judge,
        kinds=("sampled",),
        where=_judged,
        points=NOW,
    ),
    Rule(
        name="judge-undecided",
        symptom="the judge goes by the place of an answer",
        reads=("judge/flip_rate|judge/position_bias|judge/tie_rate",),
        threshold=f"{FLIPS:.0%} of the verdicts flip, the first place is worth {POSITION}, or {TIES:.0%} are ties, "
        f"over {NOW} steps",
        cause="the judge is too weak for the question, or answers are too alike.",
        remedy="Take a stronger judge, or ask by likelihood; ask both orders (the default) so that flips count as "
        "ties.",
        source="section 10 of docs/specification.md; docs/ai-feedback.md",
        check=undecided_judge,
        kinds=("sampled",),
        where=lambda track: bool(track.matching("judge/flip_rate")),
        points=NOW,
    ),
)
