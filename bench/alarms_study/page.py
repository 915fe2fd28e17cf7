"""docs/alarms-study.md and .json: what was caught, when, and what was raised where nothing was wrong."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.alarms_study.judge import REFUSED, Judged
from bench.alarms_study.trials import CONTROLS, PLANTS, SEEDS, SETTING, Trial

HEAD = """\
# Do the alarms work?

Made by `make study-alarms`: {plants} faults are planted into runs of small models (0.2 M parameters, 18 to 100
steps), and {controls} kinds of healthy runs stand beside them, each with {seeds} seeds of data, model and run at once:
{runs} runs. The rules of `postlude doctor` look at every run after each of its steps, through the object that watches a
run while it goes on.

**What was fixed before.** Which alarms count for a fault, and within how many steps it must be caught, stands in
`bench/alarms_study/trials.py`, as does the split. Kinds of runs are in two halves; of those in the half *set* the seeds
{setting} were there to set thresholds on. Everything else is *measured*: the other seeds of these kinds, and all seeds
of the other half, kinds that no threshold had seen. Most thresholds are not set here at all: they come from the papers
and pages that `postlude explain RULE` names. On the runs *set* these were: a pattern is an alarm only once truth was
measured three times, or where accuracy does not rise either (`length-paid` and its kin); a shared phrase has to pay
(`same-affix`); a saturated reward is none where truth has risen with it; `overfitting` reads the likelihood term, too;
`margin-alone` waits for a held-out loss. Plants and healthy kinds were changed, too, while the study was made: before
anything was judged, those whose own figures showed no fault (no KL penalty, thanks, broken template); after *set*
runs were judged, the dead critic (twice: nothing was left to learn, and it was missed), where "flat reward" and
"starts high" begin (both had raised alarms with hardly anything left to win), entropy collapse and paid for form;
"all right" got `solved` among its rules and four more steps.

**What was changed after the first look at the measured runs.** Rules were mended by what runs outside this study
showed, made by a user with faults of his own; none by what these runs showed. They are `broken-policy` (new: one step
has lost the reward and the distance), `kl-explosion` (in the first steps it compares with the start), `held-out-falls`
(new), `endless` (not where answers ended at the start, nor at a limit of a few tokens), `cut-off`, `no-signal`,
`repetition` and others (they follow from a broken policy), `solved` (not while held-out answers get worse),
`repeated-rows` (of sampling runs, too), and what is right under a reward that only takes away (`saturation`,
`useless-groups`). These runs were judged with the rules before and after: no fault that was caught is lost, and no
healthy run has an alarm more. So the measured half is, for these rules, a check that they do no harm rather than a
first look. One rule was changed by a healthy run of the half *set* whose seed came last: `overfitting` lets a
likelihood term beside a preference loss give back some of what it has gained.

**Are the false alarms false?** By the definition above, yes: the run was declared healthy before it was made. Looked at
one by one, three of them tell of something: both `drpo, largest` runs had settled with nine in ten groups useless and a
quarter of some draws all wrong (seed 2 stays at 75 % right to its end), and `reward_model, successor`, seed 4, rises on
held-out pairs from 0.71 to 0.99 with an accuracy of 0.30 before it comes back. They are counted all the same.

Delay is in finished steps since the fault is there (most are there from the first step). A hint, which is told to who
asks (`postlude doctor`) and raises no alarm, counts as caught only where the plant's column names it; hints in healthy
runs are listed apart from false alarms.

"""


def runs_of(judged: Sequence[Judged], trial: Trial) -> list[Judged]:
    return [j for j in judged if j.trial == trial]


def page(judged: Sequence[Judged], blind: Sequence[Judged], live: str, seconds: float) -> str:
    """The whole page. `blind`: the same runs, judged without any figure of truth."""
    facts = {
        "plants": len(PLANTS),
        "controls": len(CONTROLS),
        "seeds": len(SEEDS),
        "runs": len(judged),
        "setting": ", ".join(map(str, SETTING)),
    }
    wanted = (len(PLANTS) + len(CONTROLS)) * len(SEEDS)
    short = (
        f"**{wanted - len(judged)} of {wanted} runs are missing in this table.**\n\n" if len(judged) < wanted else ""
    )
    parts = [HEAD.format(**facts), short, _summary(judged), _plants(judged, blind), _misses(judged), _false(judged)]
    return "".join([*parts, _kinds(judged), _blind(blind), f"## Live\n\n{live}\n\n", _cost(judged, seconds)])


# ------------------------------------------------------------------------------------------------------ summary


def _halves(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    parts: dict[str, list[Judged]] = {"set": [], "measured: other seeds": [], "measured: other kinds": []}
    for j in judged:
        parts[
            "set" if j.may_set else "measured: other seeds" if j.trial.half == "set" else "measured: other kinds"
        ].append(j)
    return parts


def _summary(judged: Sequence[Judged]) -> str:
    lines = [
        "| part | planted runs | caught in time | caught late | missed | healthy runs | with a false alarm |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, part in {**_halves(judged), "all": list(judged)}.items():
        planted, healthy = [j for j in part if not j.trial.healthy], [j for j in part if j.trial.healthy]
        in_time = sum(j.in_time for j in planted)
        late = sum(j.caught is not None for j in planted) - in_time
        false = sum(bool(j.alarms) for j in healthy)
        cells = [len(planted), in_time, late, len(planted) - in_time - late, len(healthy), false]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n\n"


# ------------------------------------------------------------------------------------------------------- plants


def _plants(judged: Sequence[Judged], blind: Sequence[Judged]) -> str:
    lines = [
        "## Faults\n",
        "| fault | what was done | half | caught by | within | in time (set) | in time (measured) | "
        "delay: median, worst | without truth |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for trial in PLANTS:
        runs = runs_of(judged, trial)
        cells = [_share([j for j in runs if j.may_set]), _share([j for j in runs if not j.may_set])]
        rules = ", ".join(_by_use(runs))
        lines.append(
            f"| {trial.name} | {trial.planted} | {trial.half} | {rules} | {trial.within} | {' | '.join(cells)} | "
            f"{_delays(runs)} | {_share(runs_of(blind, trial))} |"
        )
    return "\n".join(lines) + BENEATH


BENEATH = """

Rules in brackets count as well, and were never first. "Without truth": in time where `evaluate.metrics` is left out, so
that nothing is measured which the run does not train on.

"""


def _share(runs: Sequence[Judged]) -> str:
    return f"{sum(j.in_time for j in runs)} of {len(runs)}" if runs else ""


def _by_use(runs: Sequence[Judged]) -> list[str]:
    """Rules that count: those that were first in some run, then the others in brackets."""
    if not runs:
        return []
    named = runs[0].trial.caught_by
    firsts: dict[str, int] = {}
    for j in runs:
        raised = {r: s for r, s in {**j.hints, **j.alarms}.items() if r in named or r == REFUSED}
        for rule in (r for r, s in raised.items() if s == min(raised.values())):
            firsts[rule] = firsts.get(rule, 0) + 1
    return [*sorted(firsts, key=lambda r: -firsts[r]), *(f"({r})" for r in sorted(named - firsts.keys()))]


def _delays(runs: Sequence[Judged]) -> str:
    delays = [j.caught for j in runs if j.caught is not None]
    if not delays:
        return "never"
    worst = "never" if len(delays) < len(runs) else f"{max(delays)}"
    return f"{statistics.median(delays):g}, {worst}"


def _misses(judged: Sequence[Judged]) -> str:
    missed = [j for j in judged if not j.trial.healthy and not j.in_time]
    early = [j for j in judged if j.early]
    text = "### Misses\n\n" + ("" if missed else "None.\n")
    for j in missed:
        late = "not at all" if j.caught is None else f"after {j.caught} steps, later than {j.trial.within}"
        others = ", ".join(f"{r} ({s})" for r, s in j.alarms.items()) or "none"
        text += f"* {j.trial.name}, seed {j.seed}: {late}. Alarms (step): {others}.\n"
    text += "\n" + "".join(
        f"* {j.trial.name}, seed {j.seed}: raised before the fault was there: {', '.join(j.early)}.\n" for j in early
    )
    return text + "\n"


# ------------------------------------------------------------------------------------------------ false alarms


def _false(judged: Sequence[Judged]) -> str:
    healthy = [j for j in judged if j.trial.healthy]
    rules = sorted({rule for j in healthy for rule in j.alarms})
    text = "## False alarms\n\n"
    if not rules:
        text += f"None, in {len(healthy)} healthy runs.\n\n"
    else:
        text += "| rule | set | measured | where (seed: step) |\n|---|---|---|---|\n"
        for rule in rules:
            hit = [j for j in healthy if rule in j.alarms]
            where = "; ".join(f"{j.trial.name} ({j.seed}: {j.alarms[rule]})" for j in hit)
            text += f"| {rule} | {sum(j.may_set for j in hit)} | {sum(not j.may_set for j in hit)} | {where} |\n"
        text += "\n"
    counted = {r: [j for j in healthy if r in j.hints] for r in sorted({r for j in healthy for r in j.hints})}
    listed = "; ".join(f"{r} in {len(runs)} ({_kinds_in(runs)})" for r, runs in counted.items())
    return text + f"Hints in healthy runs, which raise no alarm: {listed or 'none'}.\n\n"


def _kinds_in(runs: Sequence[Judged]) -> str:
    return ", ".join(dict.fromkeys(j.trial.name for j in runs))


def _kinds(judged: Sequence[Judged]) -> str:
    lines = [
        "## Healthy runs\n",
        "| kind | half | runs | with an alarm | accuracy or loss: first, last (mean of seeds) |",
        "|---|---|---|---|---|",
    ]
    for trial in CONTROLS:
        runs = runs_of(judged, trial)
        if runs:
            learnt = "; ".join(f"{name} {first:.2f}, {last:.2f}" for name, first, last in _courses(runs))
            lines.append(
                f"| {trial.name} | {trial.half} | {len(runs)} | {sum(bool(j.alarms) for j in runs)} | {learnt} |"
            )
    return "\n".join(lines) + "\n\n"


def _courses(runs: Sequence[Judged]) -> Iterable[tuple[str, float, float]]:
    for name in runs[0].course:
        pairs = [j.course[name] for j in runs if name in j.course]
        yield name, statistics.mean(a for a, _ in pairs), statistics.mean(b for _, b in pairs)


def _blind(blind: Sequence[Judged]) -> str:
    """What the rules are worth where truth is not measured."""
    planted, healthy = [j for j in blind if not j.trial.healthy], [j for j in blind if j.trial.healthy]
    false = [f"{j.trial.name} ({j.seed}: {', '.join(j.alarms)})" for j in healthy if j.alarms]
    return (
        "## Where truth is not measured\n\nThe same runs, without the figures of `evaluate.metrics`: "
        f"{sum(j.in_time for j in planted)} of {len(planted)} planted runs are caught in time, and {len(false)} of "
        f"{len(healthy)} healthy ones raise an alarm{': ' if false else ''}{'; '.join(false)}.\n\n"
    )


def _cost(judged: Sequence[Judged], seconds: float) -> str:
    return (
        f"## Cost\n\n{seconds / 60:.0f} minutes of one processor's time for all runs "
        f"({seconds / max(len(judged), 1):.1f} s each, on a busy machine); judging them again takes seconds.\n"
    )


def rows(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """docs/alarms-study.json: a row for each run."""
    return [
        {
            "trial": j.trial.name,
            "healthy": j.trial.healthy,
            "half": j.trial.half,
            "seed": j.seed,
            "may_set": j.may_set,
            "steps": j.steps,
            "alarms": j.alarms,
            "hints": j.hints,
            **({} if j.trial.healthy else {"within": j.trial.within, "caught": j.caught, "in_time": j.in_time}),
            "course": {name: [round(a, 4), round(b, 4)] for name, (a, b) in j.course.items()},
        }
        for j in judged
    ]
