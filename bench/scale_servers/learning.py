"""Part `learning`: GRPO on the demo's task with one server, and with the local sampler, on three seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scale_servers.material import Place, finished, learning_recipe, recipe, server
from bench.scale_servers.report import Report
from postlude.inference import of_values
from postlude.runs import read
from postlude.statistics import mean

SEEDS = (1, 2, 3)
HELD_OUT = 384
LOST, LEARNT = 0.05, 0.1
"""Of accuracy: what a server may cost at the most, and what a run must gain at the least."""
HEADS = ("sampler", "seed", "greedy: start", "end", "sampled: start", "end", "s", "s/step", "mismatch/max")


@dataclass(frozen=True)
class Learnt:
    """Held-out accuracy of a run."""

    sampler: str
    seed: int
    first: Mapping[str, Any]
    last: Mapping[str, Any]
    seconds: float
    steps: int
    mismatch: float | None
    """The largest between a log-prob of the sampler and the trainer's, in nats, of all steps."""

    def at_end(self, of: str) -> float:
        """`greedy` or `sampled`."""
        return float(self.last[f"{of}/accuracy"])


def learning(place: Place) -> Report:
    """The same recipe and seeds both ways."""
    demo = place.demo()
    with ThreadPoolExecutor(2) as pool:  # tiny models use one thread each
        local = [*pool.map(lambda seed: _run(place, demo, "local", seed, {}), SEEDS)]
    with server(place, demo / "sft/model") as url:
        served = [_run(place, demo, "server", seed, {"servers": {"urls": [url]}}) for seed in SEEDS]
    report = Report("learning", HEADS)
    report.rows += [_cells(one) for one in (*local, *served)]
    for of in ("greedy", "sampled"):
        judge(report, of, local, served)
    return report


def _run(place: Place, demo: Path, sampler: str, seed: int, engine: Mapping[str, Any]) -> Learnt:
    values = learning_recipe(
        demo,
        steps=place.steps,
        seed=seed,
        engine=dict(engine),
        evaluate={"every": place.steps, "prompts": HELD_OUT},
        checkpoints={"every": place.steps},
    )
    folder, name = place.folder / "learning", f"{sampler}-{seed}"
    finished(["train", str(recipe(folder, name, values))])
    history = read(folder / name)
    mismatch = [float(step["mismatch/max"]) for step in history.of("step") if "mismatch/max" in step]
    total = float(history.timings[-1]["total"])
    return Learnt(sampler, seed, history.evals[0], history.evals[-1], total, place.steps, max(mismatch, default=None))


def _cells(one: Learnt) -> tuple[str, ...]:
    shares = (f"{event[f'{of}/accuracy']:.3f}" for of in ("greedy", "sampled") for event in (one.first, one.last))
    mismatch = "" if one.mismatch is None else f"{one.mismatch:.1e}"
    return one.sampler, str(one.seed), *shares, f"{one.seconds:.0f}", f"{one.seconds / one.steps:.2f}", mismatch


def judge(report: Report, of: str, local: Sequence[Learnt], served: Sequence[Learnt]) -> None:
    """That it learns, and no worse than without by more than seeds differ."""
    ours, theirs = [one.at_end(of) for one in served], [one.at_end(of) for one in local]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    interval = of_values(differences)
    said = f"{mean(ours):.3f} and {mean(theirs):.3f}, difference {mean(differences):+.3f}"
    said += f" (95 %: {interval.low:+.3f} to {interval.high:+.3f})" if interval else ""
    worse = interval is not None and interval.high < 0
    text = f"{of}: no worse with a server than without by more than seeds differ, and by less than {LOST}"
    report.claim(text, not worse and mean(differences) > -LOST, said)
    if of == "sampled":  # the most likely answers are right from the start
        start = mean([float(one.first[f"{of}/accuracy"]) for one in (*local, *served)])  # the same weights in all runs
        gains = ", ".join(f"{share - start:+.3f}" for share in ours)
        said = f"{gains} from {start:.3f}; without one {mean(theirs) - start:+.3f}"
        report.claim("every seed learns with a server", min(ours) - start > LEARNT, said)
