"""Rules on servers that sample for a run: what they answer, and what a step waits for."""

from __future__ import annotations

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track
from postlude.doctor.windows import Window

LATELY = 10
"""Steps that are looked at together."""
GROWN = 10.0
"""Times the handshake's error at the start."""
FLOOR = 1e-4
"""Nats: an error below this is rounding, however much it has grown."""
MOST_AGAIN = 0.05
"""Share of a step's answers that were refused, or asked for again."""
MOST_WAITING = 0.7
"""Share of a step in which the trainer waits for answers."""
LEAST_WAITING = 0.05
"""The same, below which servers wait for the trainer."""
MOST_PUBLISHING = 0.3
"""Share of a step that goes into new weights: saving, publishing, comparing."""


def growing_error(track: Track) -> Finding | None:
    """Whether servers drift away from the trainer, publication by publication."""
    change = track["handshake/error"].change(LATELY // 2, LATELY // 2)
    if change is None or change.after.low <= max(FLOOR, GROWN * change.before.high):
        return None
    text = (
        f"log-probs of servers and trainer are {change.after.mean:.2g} nats apart after a publication, and were "
        f"{change.before.mean:.2g} at the start: a part of the weights does not reach the servers"
    )
    other = "files" if track.setting("engine.publish") != "files" else None
    return seen(change.after, change.after.mean, change.before.high, text, other and f"engine.publish={other}")


def asked_again(track: Track) -> Finding | None:
    """Answers of servers that cannot be used, again and again."""
    refused, again, samples = (track.get(name).last(LATELY) for name in ("refused_answers", "requeued", "samples"))
    worse = refused if sum(refused.values) > sum(again.values) else again
    share = sum(worse.values) / max(sum(samples.values), 1.0)
    if share <= MOST_AGAIN or worse.share(lambda count: count > 0) < 0.5:
        return None
    text = (
        f"over {len(worse)} steps {sum(refused.values):.0f} answers of servers were refused and "
        f"{sum(again.values):.0f} asked for again, of {sum(samples.values):.0f}: each was paid for and thrown away"
    )
    return seen(worse.showing(), share, MOST_AGAIN, text, track.times("engine.servers.concurrency", 0.5, least=1))


def shares_of(track: Track, *names: str) -> Window:
    """Of the lately finished steps, what these took of waiting, training, committing and publishing together."""
    whole = [track.get(f"seconds/{name}").last(LATELY) for name in ("wait", "train", "commit", "publish")]
    parts = [track.get(f"seconds/{name}").last(LATELY) for name in names]
    totals = [max(sum(values), 1e-9) for values in zip(*(one.values for one in whole), strict=False)]
    sums = [sum(values) for values in zip(*(one.values for one in parts), strict=False)]
    shares = tuple(part / total for part, total in zip(sums, totals, strict=False))
    return Window(" + ".join(f"seconds/{name}" for name in names), parts[0].steps[: len(shares)], shares)


def waiting_trainer(track: Track) -> Finding | None:
    """The trainer does nothing for most of the time."""
    share = shares_of(track, "wait")
    if not len(share) or share.median <= MOST_WAITING:
        return None
    text = f"the trainer waits for answers in {share.median:.0%} of the time of the last {len(share)} steps"
    more = track.times("engine.servers.count", 2)
    return seen(share, share.median, MOST_WAITING, text, more)


def waiting_servers(track: Track) -> Finding | None:
    """Servers have nothing to do while the trainer works."""
    share, ahead = shares_of(track, "wait"), bool(track.setting("max_lag"))
    limit = LEAST_WAITING if ahead else 1 - MOST_WAITING
    if not len(share) or share.median >= limit:
        return None
    text = (
        f"answers are ready before the trainer is: it waits for them in {share.median:.1%} of the time of the last "
        f"{len(share)} steps, and the servers have nothing to do for the rest"
    )
    return seen(share, share.median, limit, text)


def dear_publication(track: Track) -> Finding | None:
    """New weights take much of a step."""
    share = shares_of(track, "commit", "publish")
    if not len(share) or share.median <= MOST_PUBLISHING:
        return None
    saving = shares_of(track, "commit").median
    text = (
        f"saving and publishing weights takes {share.median:.0%} of the time of the last {len(share)} steps "
        f"({saving:.0%} the checkpoints before it)"
    )
    rarer = "engine.commit_every" if saving > share.median / 2 else "engine.probe_every"
    return seen(share, share.median, MOST_PUBLISHING, text, track.times(rarer, 10, usual=10))


def _served(track: Track) -> bool:
    return bool(track.setting("engine.servers"))


TIMED = "seconds are in timings.jsonl, which no alarm reads: postlude doctor RUN looks at them"
RULES = (
    Rule(
        name="handshake-grows",
        symptom="servers drift away from the trainer",
        reads=("handshake/error",),
        threshold=f"the least error of {LATELY // 2} publications above {FLOOR:g} nats and {GROWN:g} times the largest "
        f"of the first {LATELY // 2}",
        cause="a part of the weights (an output head that is tied, a bias) stays what it was as servers began.",
        remedy="Publish another way (engine.publish=files), and look at postlude engine check, which names the error "
        "before and after a publication.",
        source="docs/scale.md; the bounds are chosen",
        check=growing_error,
        kinds=("sampled",),
        where=_served,
        points=LATELY,
    ),
    Rule(
        name="answers-again",
        symptom="servers' answers are asked for again and again",
        reads=("refused_answers|requeued",),
        threshold=f"more than {MOST_AGAIN:.0%} of the answers over {LATELY} steps, in every other step at least",
        cause="servers that are restarted, time out or serve weights that were not published to them.",
        remedy="Read the servers' logs (servers/ in the run's folder); raise engine.servers.timeout or lower "
        "engine.servers.concurrency where answers time out.",
        source="docs/scale.md; the share is chosen",
        check=asked_again,
        kinds=("sampled",),
        where=_served,
        points=LATELY,
    ),
    Rule(
        name="trainer-waits",
        symptom="the trainer waits for servers",
        reads=("seconds/wait", "seconds/train"),
        threshold=f"a median of {MOST_WAITING:.0%} of the steps' time over {LATELY} steps",
        cause="too few servers, long answers, or (max_lag 0) servers and trainer that take turns.",
        remedy="Start more servers (engine.servers.count), or let them sample ahead: max_lag 1, which only a run that "
        "begins anew can take up.",
        source="docs/scale.md; the share is chosen",
        check=waiting_trainer,
        gravity="hint",
        kinds=("sampled",),
        where=_served,
        points=LATELY,
        unseen=TIMED,
    ),
    Rule(
        name="servers-wait",
        symptom="servers wait for the trainer",
        reads=("seconds/wait", "seconds/train"),
        threshold=f"the trainer waits in less than {LEAST_WAITING:.0%} of the steps' time over {LATELY} steps with "
        f"max_lag 1, or less than {1 - MOST_WAITING:.0%} without",
        cause="training takes longer than sampling.",
        remedy="Take fewer servers (engine.servers.count), give their GPUs to something else, or sample more answers "
        "to a prompt (group_size).",
        source="docs/scale.md; the shares are chosen",
        check=waiting_servers,
        gravity="hint",
        kinds=("sampled",),
        where=_served,
        points=LATELY,
        unseen=TIMED,
    ),
    Rule(
        name="dear-publication",
        symptom="new weights take much of a step",
        reads=("seconds/publish", "seconds/commit"),
        threshold=f"a median of {MOST_PUBLISHING:.0%} of the steps' time over {LATELY} steps",
        cause="short steps of a large model: saving, sending and comparing cost the same each time.",
        remedy="Save less often before publishing (engine.commit_every), compare less often (engine.probe_every), "
        "train an adapter (model.lora), or take larger steps (prompts_per_step).",
        source="docs/scale.md; the share is chosen",
        check=dear_publication,
        gravity="hint",
        kinds=("sampled",),
        where=_served,
        points=LATELY,
        unseen=TIMED,
    ),
)
