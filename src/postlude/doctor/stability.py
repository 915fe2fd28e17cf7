"""Rules on updates as a whole: distance from the reference, exploration, gradients, losses that say something."""

from __future__ import annotations

from postlude.doctor.off_policy import nearer
from postlude.doctor.progress import NOW, START, gains, gains_lately, headroom, rose_over
from postlude.doctor.rates import JUMP, largest_jump, lower_after, raised
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track

KL_BUDGET = 1.0
"""Nats per token from the reference: ten times the 0.1 that verl's controller aims at; a KL controller's own target
takes its place, ten times."""
OVER_TARGET = 10.0
KL_DOUBLED = 2.0
"""Within `NOW` steps: beyond the budget and still on its way."""
KL_STEPS = 5
FAR = 3.0
"""Times the budget: up to there a distance that has paid since the start is no explosion."""
LOST_KL = 10.0
"""Nats per token in a single step: nearly log of a vocabulary, so the reference knows none of it."""
COLLAPSED = 0.1
"""Entropy against its start, with room left to win (design of the audit; it stops a run there)."""
SCATTERED = 2.0
"""Entropy against its start."""
SCATTERED_BY = 1.0
"""Nats per token, likewise: both have to hold."""
BEFORE = 1
"""Steps that stand for the loss before any update: a rate that is far too high breaks the model in the first one."""
WORSE_TEXT, WORSE_JUDGED = 1.5, 1.2
"""Times that loss: batches of text differ by a fifth and more, a preference loss begins at log 2 in all."""
MOSTLY = 0.8
"""Share of the newest steps that are above it."""
GRADIENT_GREW = 10.0
"""Norm before clipping, against the start."""
MOST_LEFT_OUT = 2
"""Updates that were left out, of `NOW` steps: one may be an accident."""
MOST_IMPOSSIBLE = 0.01
"""Share of trained tokens without a probability."""


# -------------------------------------------------------------------------------- distance and exploration


def kl_explosion(track: Track) -> Finding | None:
    """A distance from the reference that is beyond any budget and grows, or that one step has made."""
    kl = track["kl_ref/k3"]
    newest = kl.last(KL_STEPS)
    target = track.number("kl_control.target") if track.setting("kl_control.unit") == "token" else None
    budget = OVER_TARGET * target if target else KL_BUDGET
    lost = newest.values[-1] > LOST_KL
    before = max(min(NOW, len(kl) - KL_STEPS), 1)  # a run in its first steps has only its start to compare with
    growth = rose_over(kl, before, KL_STEPS)
    least = budget if before == NOW else max(budget, KL_BUDGET)  # from 0 every distance is a multiple
    grows = growth is not None and growth.factor >= KL_DOUBLED and newest.low > least
    pays = gains_lately(track, before, KL_STEPS) or (newest.low < FAR * budget and gains(track, KL_STEPS, KL_STEPS))
    if not lost and (not grows or pays):
        return None
    if lost:
        text = f"the policy is {newest.values[-1]:.3g} nats per token from the reference, which knows none of it"
        return seen(kl.last(1), kl.newest, LOST_KL, text, lower_after(track, largest_jump(kl)[0]))
    assert growth is not None
    text = (
        f"the policy is {newest.mean:.3g} nats per token from the reference, {growth.before.mean:.2g} in the "
        f"{before} before, and nothing that is rewarded has risen by it"
    )
    return seen(newest, newest.mean, budget, text, *_tighter(track))


def _tighter(track: Track) -> tuple[str | None, ...]:
    """A lower rate where it was raised, or where one step has made the distance, which no penalty on the next one
    holds; a stronger penalty where there is one, else."""
    jump, _ = largest_jump(track["kl_ref/k3"])
    if raised(track) is not None or jump >= JUMP:
        return (lower_after(track, jump),)
    stronger = track.times("objective.kl.coef", 3) or track.times("objective.advantage.kl_coef", 3)
    return (stronger,) if stronger else (track.times("schedule.lr", 0.3),)


def collapse(track: Track) -> Finding | None:
    """Exploration that is gone before the task is solved."""
    entropy, room = track["entropy"], headroom(track)
    start, now = entropy.first(KL_STEPS), entropy.last(KL_STEPS)
    if room is None or room < 2 * COLLAPSED or len(entropy) < 2 * KL_STEPS or start.mean <= 0:
        return None
    if now.high > COLLAPSED * start.mean or gains_lately(track, NOW, KL_STEPS):
        return None
    text = (
        f"the entropy has fallen from {start.mean:.2g} to {now.mean:.2g} nats per token, and {room:.0%} of what can be "
        "won is left: the answers to a prompt are all the same one, so nothing better is tried"
    )
    bonus = "objective.entropy=0.01" if track.setting("objective.entropy") in (0, 0.0, None) else None
    return seen(now, now.mean / start.mean, COLLAPSED, text, bonus, track.times("schedule.lr", 0.3))


def scatter(track: Track) -> Finding | None:
    """Entropy that rises far beyond its start: the policy becomes noise."""
    entropy = track["entropy"]
    start, now = entropy.first(KL_STEPS), entropy.last(KL_STEPS)
    if len(entropy) < 2 * KL_STEPS or now.low < max(SCATTERED * start.mean, start.mean + SCATTERED_BY):
        return None
    if gains_lately(track, NOW, KL_STEPS):
        return None
    text = f"the entropy has risen from {start.mean:.2g} to {now.mean:.2g} nats per token: the answers become noise"
    less = track.times("objective.entropy", 0.1)
    return seen(now, now.mean, SCATTERED * start.mean, text, less or track.times("schedule.lr", 0.3))


# ------------------------------------------------------------------------------------------------ gradients


def growing_gradient(track: Track) -> Finding | None:
    """A gradient that is many times what it was."""
    norm = track["grad_norm"]
    change = norm.change(START, NOW)
    if change is None or change.before.median <= 0 or _by_critic(track):
        return None
    factor = change.after.median / change.before.median
    if factor < GRADIENT_GREW or not change.rises or gains_lately(track, 2 * NOW, NOW) or _learns(track):
        return None
    text = (
        f"the gradient has grown to {factor:.0f} times its size: {change.before.median:.2g} in the first {START} "
        f"steps, {change.after.median:.2g} in the last {NOW}"
    )
    return seen(change.after, factor, GRADIENT_GREW, text, track.times("schedule.lr", 0.3))


def _learns(track: Track) -> bool:
    """Whether a loss whose value says something is lower than at the start: the gradient of one that begins flat grows
    as it comes to the slope."""
    changes = [column.change(START, NOW) for column in _losses(track)]
    return any(change is not None and change.falls for change in changes)


def _by_critic(track: Track) -> bool:
    """Whether the first steps had no gradient, since a critic warmed up."""
    return bool(track.number("critic.warmup"))


def left_out(track: Track) -> Finding | None:
    """Updates that were not taken since something was not finite."""
    counts = track["skipped_updates"].last(NOW)
    if sum(counts.values) < MOST_LEFT_OUT:
        return None
    text = (
        f"{sum(counts.values):.0f} updates of the last {len(counts)} steps were left out, since something in them was "
        "not finite; broken/ holds the batches"
    )
    return seen(counts.showing(), sum(counts.values), MOST_LEFT_OUT, text, track.times("schedule.lr", 0.3))


def impossible(track: Track) -> Finding | None:
    """Tokens that the policy gives no probability, or whose log-prob at sampling is not a number."""
    counts, trained = track["masked_infinite"].last(NOW), track["trained_tokens"].last(NOW)
    corrupt = track.get("corrupt_tokens").last(NOW)
    lost = sum(counts.values) + sum(corrupt.values)
    share = lost / max(sum(trained.values) + lost, 1.0)
    if share < MOST_IMPOSSIBLE:
        return None
    text = f"{share:.1%} of the tokens of the last {len(counts)} steps have no probability, and were left out"
    return seen(counts.showing(), share, MOST_IMPOSSIBLE, text, nearer(track))


def diverging(track: Track) -> Finding | None:
    """A loss on data that is higher than before the first updates."""
    for column in (c for c in _losses(track) if len(c) >= BEFORE + NOW):
        start, now = column.first(BEFORE), column.last(NOW)
        bound = start.mean * (WORSE_TEXT if column.name == "loss/policy" else WORSE_JUDGED)
        if start.mean <= 0 or now.mean <= bound or now.share(lambda loss, least=start.mean: loss > least) < MOSTLY:
            continue
        text = (
            f"the loss is higher than where it began: {start.mean:.3g} before any update, {now.mean:.3g} in "
            f"the last {NOW}"
        )
        evidence = now.showing(lambda loss, least=start.mean: loss > least)
        return seen(evidence, now.mean, bound, text, track.times("schedule.lr", 0.1))
    return None


def _losses(track: Track) -> list[Column]:
    """Losses whose value says something: of written text and of judged answers."""
    names = (
        "loss/pairs",
        "loss/points",
        "loss/lists",
        "loss/steps",
        *(("loss/policy",) if track.kind == "written" else ()),
    )
    return [track.get(name) for name in names]


RULES = (
    Rule(
        name="kl-explosion",
        symptom="the KL to the reference explodes",
        reads=("kl_ref/k3",),
        threshold=f"above {KL_BUDGET:g} nats per token ({OVER_TARGET:g} times kl_control.target where that is per "
        f"token) in {KL_STEPS} steps, twice the {NOW} before (or the first ones), while nothing rises by it; or "
        f"{LOST_KL:g} in one",
        cause="the KL penalty is too weak, or the rate too high.",
        remedy="Where the distance came in one step, or the rate was raised, lower schedule.lr; else raise the "
        "penalty's coefficient (objective.kl.coef, objective.advantage.kl_coef).",
        source="training notes, debugging table; section 3.8 of docs/specification.md",
        check=kl_explosion,
        follows=("broken-policy",),
        gravity="grave",
        kinds=("sampled",),
        unseen="set objective.kl, whose reference it is measured against",
    ),
    Rule(
        name="entropy-collapse",
        symptom="exploration is gone",
        reads=("entropy",),
        threshold=f"below {COLLAPSED} of the entropy at the start in {KL_STEPS} steps, while nothing rises and "
        f"{2 * COLLAPSED:.0%} or more is left to win",
        cause="updates have made one answer nearly certain, before it was the right one.",
        remedy="Lower schedule.lr, add an entropy bonus (objective.entropy) or a higher clip bound "
        "(objective.surrogate.high=0.28), and go back to a checkpoint before it.",
        source="section 8 of docs/specification.md, 2503.14476",
        check=collapse,
        follows=("broken-policy",),
        gravity="grave",
        kinds=("sampled",),
        points=2 * KL_STEPS,
    ),
    Rule(
        name="entropy-rise",
        symptom="answers become noise",
        reads=("entropy",),
        threshold=f"{SCATTERED:g} times the entropy at the start, and {SCATTERED_BY:g} nat per token above it, in "
        f"{KL_STEPS} steps, while nothing rises",
        cause="the rate is too high, or an entropy bonus is stronger than the reward.",
        remedy="Lower schedule.lr, or objective.entropy where it is set; go back to a checkpoint before it.",
        source="section 3.6 of docs/specification.md; the factor is chosen",
        check=scatter,
        follows=("broken-policy",),
        gravity="grave",
        kinds=("sampled",),
        points=2 * KL_STEPS,
    ),
    Rule(
        name="gradient-growth",
        symptom="the gradient grows without end",
        reads=("grad_norm",),
        threshold=f"a median over {NOW} steps of {GRADIENT_GREW:g} times that of the first {START}, while nothing gets "
        "better",
        cause="the run diverges: each update makes the next one larger.",
        remedy="Lower schedule.lr, and go back to a checkpoint before it.",
        source="training tips; the factor is chosen",
        check=growing_gradient,
        follows=("broken-policy", "loss-rises", "reward-crash", "kl-explosion", "entropy-rise"),
        points=START + NOW,
    ),
    Rule(
        name="not-finite",
        symptom="updates are left out",
        reads=("skipped_updates",),
        threshold=f"{MOST_LEFT_OUT} updates in {NOW} steps",
        cause="a loss, a gradient or what they go by was not finite: overflow, or a reward that is.",
        remedy="A note says which figure of which answer was the cause, and RUN/broken/ holds the batches. Lower "
        "schedule.lr or optimizer.max_grad_norm, or hold the model in float32 or bfloat16.",
        source="section 0.5 of docs/specification.md; docs/reliability.md",
        check=left_out,
    ),
    Rule(
        name="impossible-tokens",
        symptom="tokens without a probability",
        reads=("masked_infinite", "trained_tokens"),
        threshold=f"{MOST_IMPOSSIBLE:.0%} of the trained tokens of {NOW} steps",
        cause="answers hold tokens that the policy cannot write: a mask of the sampler that the trainer does not have, "
        "or a tokenizer that is another.",
        remedy="Set sampling.top_k 0 and sampling.top_p 1, and look at the tokenizer (postlude check).",
        source="section 0.5 of docs/specification.md; the share is chosen",
        check=impossible,
        where=lambda track: "trained_tokens" in track,
        points=NOW,
    ),
    Rule(
        name="loss-rises",
        symptom="the loss on data rises",
        reads=("loss/policy|loss/pairs|loss/points|loss/lists|loss/steps",),
        threshold=f"a mean over {NOW} steps of {WORSE_TEXT} times that of the first step (written text; {WORSE_JUDGED} "
        f"where answers are judged), and {MOSTLY:.0%} of the steps above it",
        cause="the rate is too high: the run diverges.",
        remedy="Lower schedule.lr (sft 2e-5, preference methods 1e-6 to 1e-5), and warm up (schedule.warmup).",
        source="training notes, debugging table",
        check=diverging,
        gravity="grave",
        kinds=("judged", "written"),
        points=BEFORE + NOW,
    ),
)
