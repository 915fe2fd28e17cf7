"""Rules on several trainers: whether the ranks have about the same to do, and what holding them together costs."""

from __future__ import annotations

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.serving import LATELY, TIMED, shares_of
from postlude.doctor.track import Track

UNEVEN = 1.5
"""Work of the fullest rank over the mean."""
LONG = 30
"""Steps in which restarts are counted."""
MANY = 3
"""Of them with a restart."""
MOST_SAVING = 0.3
"""Share of a step that goes into commits and gathered weights."""


def uneven_ranks(track: Track) -> Finding | None:
    """Most ranks wait for one, update by update."""
    work = track["ranks/imbalance"].last(LATELY)
    if work.median <= UNEVEN:
        return None
    text = (
        f"the trainer rank with most to do had {work.median:.2g} times the mean in the last {len(work)} steps: the "
        f"others did nothing for {1 - 1 / work.median:.0%} of training"
    )
    return seen(work, work.median, UNEVEN, text, track.times("prompts_per_step", 2))


def lost_ranks(track: Track) -> Finding | None:
    """Ranks are lost again and again."""
    seconds = track["seconds/restart"].last(LONG)
    hit = [value for value in seconds.values if value > 0]
    if len(hit) < MANY:
        return None
    text = (
        f"in {len(hit)} of the last {len(seconds)} steps a trainer rank was lost and all were started again, which "
        f"took {sum(hit):.0f} s. Nothing is trained twice, but the cause goes on"
    )
    return seen(seconds.showing(), len(hit), MANY, text, track.times("engine.token_budget", 0.5, least=1))


def dear_commits(track: Track) -> Finding | None:
    """Saving and gathering take much of a step."""
    share = shares_of(track, "commit", "publish")
    if not len(share) or share.median <= MOST_SAVING:
        return None
    saving = shares_of(track, "commit")
    mean = sum(saving.values) / len(saving)
    text = (
        f"commits and gathered weights take {share.median:.0%} of the time of the last {len(share)} steps "
        f"({mean:.0%} the commits)"
    )
    rarer = track.times("engine.commit_every", 3, usual=30) if mean > share.median / 2 else None
    return seen(share, share.median, MOST_SAVING, text, rarer or track.times("prompts_per_step", 2))


def _several(track: Track) -> bool:
    return (track.number("engine.trainers") or 1) > 1


def _without_servers(track: Track) -> bool:
    return _several(track) and not track.setting("engine.servers")


RULES = (
    Rule(
        name="ranks-uneven",
        symptom="most trainer ranks wait for one",
        reads=("ranks/imbalance",),
        threshold=f"a median above {UNEVEN:g} over {LATELY} steps",
        cause="fewer answers (or whole groups) in an update than fill all ranks, or one far longer than the others.",
        remedy="Draw more at a time (prompts_per_step), cut a draw into fewer updates, or take fewer ranks "
        "(engine.trainers); a limit on answers (sampling.max_tokens) keeps the longest from being all there is.",
        source="docs/scale.md; the ratio is chosen",
        check=uneven_ranks,
        gravity="hint",
        where=_several,
        points=LATELY,
    ),
    Rule(
        name="ranks-restart",
        symptom="trainer ranks are lost again and again",
        reads=("seconds/restart",),
        threshold=f"{MANY} of {LONG} steps with a restart",
        cause="memory that runs out on a host, a host that goes away, or something that kills processes.",
        remedy="Read what the terminal said of each (which rank, how it ended), and the run's ranks/*.log; "
        "lower engine.token_budget where memory ran out, and look at the host's own log (dmesg: out of memory).",
        source="docs/scale.md; the number is chosen",
        check=lost_ranks,
        where=_several,
        points=MANY,
        unseen=TIMED,
    ),
    Rule(
        name="dear-commits",
        symptom="commits and gathered weights take much of a step",
        reads=("seconds/commit", "seconds/publish"),
        threshold=f"a median of {MOST_SAVING:.0%} of the steps' time over {LATELY} steps",
        cause="short steps of a large model: saving and gathering cost the same each time.",
        remedy="Commit less often (engine.commit_every), which makes more of a run again where the driver is killed; "
        "train an adapter (model.lora), or take larger steps (prompts_per_step).",
        source="docs/scale.md; the share is chosen",
        check=dear_commits,
        gravity="hint",
        where=_without_servers,
        points=LATELY,
        unseen=TIMED,
    ),
)
