"""Rules on the answers that a policy samples: their lengths, their ends, what stands in them besides words."""

from __future__ import annotations

from postlude.doctor.progress import NOW, START, gains_lately, headroom, progress
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track

MOST_CUT = 0.9
"""Share of answers cut off: beyond, the reward is about beginnings of answers."""
MANY_CUT = 0.5
"""The same, where it lasts: half of what is paid for is not what was meant to be judged."""
AT_ONCE = 3
LASTING = 20
"""Steps for which it has to be so: of nearly all, and of half the answers."""
MOST_RIGHT = 0.8
"""Accuracy from which on cut answers do not matter: tasks of a few tokens are cut by design."""
TINY = 4
"""Tokens: a limit up to here cuts every answer of whatever model, so its never ending says nothing of that."""
MOST_EMPTY = 0.1
"""Share of answers without any text but space."""
MOST_MARKED = 0.05
"""Share of answers with marks of a chat template in their text: the model writes the user's turn, too."""
GREW = 2.0
"""Factor of the mean length against the start: RL pays for length with time and memory at once."""
SHRANK = 0.5


def cut_off(track: Track) -> Finding | None:
    """The share of answers that were cut off: of nearly all at once, of half where it lasts."""
    share, longest, room = track["truncated_frac"], track.get("completion_length/max"), headroom(track)
    if room is not None and room < 1 - MOST_RIGHT:
        return None
    newest, late = share.lasting(AT_ONCE), share.lasting(LASTING)
    worst = newest is not None and newest.mean >= MOST_CUT and newest.low >= MANY_CUT
    often = late is not None and late.mean >= MANY_CUT and late.last_half >= MANY_CUT
    if newest is None or not (worst or often):
        return None
    evidence, threshold = (newest, MOST_CUT) if worst or late is None else (late, MANY_CUT)
    limit = f" ({longest.newest:.0f} tokens)" if len(longest) else ""
    text = (
        f"{evidence.mean:.0%} of the answers of the last {len(evidence)} steps were cut off by the length limit{limit} "
        "before they had ended"
    )
    return seen(evidence, evidence.mean, threshold, text, track.times("sampling.max_tokens", 2))


def endless(track: Track) -> Finding | None:
    """Not a single answer that ends: the model, or its template, knows no end."""
    share = track["truncated_frac"].last(NOW)
    shortest, longest = track["completion_length/min"].last(NOW), track["completion_length/max"].last(NOW)
    room = headroom(track)
    if not share.all(lambda cut: cut == 1.0) or shortest.low != longest.high or longest.high <= TINY:
        return None
    if track["truncated_frac"].values[0] < MANY_CUT:
        return None  # most ended by themselves at the start: the model knew how
    if room is not None and room < 1 - MOST_RIGHT:
        return None
    text = (
        f"no answer of the last {len(share)} steps has ended by itself: all {longest.high:.0f} tokens were taken every "
        "time"
    )
    return seen(share, 1.0, 1.0, text)


def empty(track: Track) -> Finding | None:
    """Answers that say nothing: those without a reward are others (`empty_completions` counts them as untrained)."""
    shares = track["answers/empty"].last(NOW)
    if shares.mean < MOST_EMPTY:
        return None
    text = f"{shares.mean:.0%} of the answers of the last {len(shares)} steps were empty"
    return seen(shares.showing(), shares.mean, MOST_EMPTY, text)


def marked(track: Track) -> Finding | None:
    """Marks of a chat template in the text of answers."""
    share = track["answers/template_marks"].last(NOW)
    if share.mean < MOST_MARKED or share.values[-1] < MOST_MARKED:
        return None
    text = (
        f"{share.mean:.0%} of the answers of the last {len(share)} steps hold marks of a chat template in their text "
        "(<|im_start|>, [INST], ### Human: ...): the model goes on to write the next turn"
    )
    return seen(share.showing(), share.mean, MOST_MARKED, text)


def drift(track: Track) -> Finding | None:
    """Answers that become much longer, or much shorter, while nothing gets better by it."""
    change = track["completion_length/mean"].change(START, NOW)
    if change is None or gains_lately(track, 2 * NOW, NOW) or _improved(track):
        return None
    longer = change.factor >= GREW and change.rises
    shorter = change.factor <= SHRANK and change.falls and _worse(track)
    if not (longer or shorter):
        return None
    text = (
        f"answers have become {'longer' if longer else 'shorter'}: {change.before.mean:.0f} tokens in the first "
        f"{START} steps, {change.after.mean:.0f} in the last {NOW}, and "
        + ("nothing that is rewarded has risen by it" if longer else "the reward has fallen with it")
    )
    return seen(change.after, change.factor, GREW if longer else SHRANK, text, track.times("schedule.lr", 0.3))


def _improved(track: Track) -> bool:
    """Whether anything that is rewarded is higher than at the start, beyond noise."""
    changes = [column.change(START, NOW) for column in progress(track)]
    return any(change is not None and change.rises for change in changes)


def _worse(track: Track) -> bool:
    """Whether anything that is rewarded has fallen since the start, beyond noise."""
    changes = [column.change(START, NOW) for column in progress(track)]
    return any(change is not None and change.falls for change in changes)


RULES = (
    Rule(
        name="cut-off",
        symptom="answers run into the length limit",
        reads=("truncated_frac",),
        threshold=f"{MOST_CUT:.0%} of the answers of {AT_ONCE} steps, or {MANY_CUT:.0%} over {LASTING}, with "
        f"accuracy below {MOST_RIGHT:.0%}",
        cause="answers need more room than sampling.max_tokens, or the model has not learned to end them.",
        remedy="Raise sampling.max_tokens if they need more room; if they ramble on after they are done, give a stop "
        "string (sampling.stop), or train the model with sft first.",
        source="section 0.6 of docs/specification.md; half and three steps are chosen",
        check=cut_off,
        follows=("broken-policy", "kl-explosion", "endless"),
        shows="longest",
        kinds=("sampled",),
        points=AT_ONCE,
    ),
    Rule(
        name="endless",
        symptom="answers never end",
        reads=("truncated_frac", "completion_length/min", "completion_length/max"),
        threshold=f"not one answer in {NOW} steps that ends by itself, nor most at the start, with a limit above "
        f"{TINY} tokens and accuracy below {MOST_RIGHT:.0%}",
        cause="the model knows no end of turn (a base model), or its template ends turns by another token.",
        remedy="Look at the template (postlude check); give sampling.stop, or train with sft first, whose rows end.",
        source="section 1 of docs/specification.md; docs/reliability.md",
        check=endless,
        follows=("broken-policy", "kl-explosion"),
        shows="longest",
        kinds=("sampled",),
        points=NOW,
    ),
    Rule(
        name="empty-answers",
        symptom="answers are empty",
        reads=("answers/empty",),
        threshold=f"{MOST_EMPTY:.0%} of the answers of {NOW} steps",
        cause="the first token ends the answer: a stop string that answers begin with, or a reward that pays for "
        "silence.",
        remedy="Look at sampling.stop and at what the reward gives an empty answer (postlude audit).",
        source="section 0.6 of docs/specification.md; the share is chosen",
        check=empty,
        follows=("broken-policy",),
        kinds=("sampled",),
        points=NOW,
    ),
    Rule(
        name="template-marks",
        symptom="answers hold marks of a chat template",
        reads=("answers/template_marks",),
        threshold=f"{MOST_MARKED:.0%} of the answers over {NOW} steps, and of the newest",
        cause="the model's own template has other marks, or the mark that ends its turn is not a stop.",
        remedy="Look at the template (postlude check), and give what ends a turn as sampling.stop.",
        source="section 1 of docs/specification.md; the share is chosen",
        check=marked,
        kinds=("sampled",),
        points=NOW,
        unseen="runs of earlier versions did not log it",
    ),
    Rule(
        name="length-drift",
        symptom="answers become ever longer, or collapse",
        reads=("completion_length/mean", "reward/mean"),
        threshold=f"{GREW:g} times the length of the first {START} steps while no reward rises, or {SHRANK:g} times "
        "and less while one falls",
        cause="nothing holds the policy to the length that it began with, and its updates push it about.",
        remedy="Lower schedule.lr; a KL penalty (objective.kl) holds it; a length penalty (shaping) if room is short.",
        source="section 13 of docs/specification.md; the factors are chosen",
        check=drift,
        follows=("broken-policy", "endless", "entropy-rise"),
        shows="longest",
        kinds=("sampled",),
        points=START + NOW,
    ),
)
