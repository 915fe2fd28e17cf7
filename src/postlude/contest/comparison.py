"""A comparison as its folder tells it: results, what they say, and what must be known beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from postlude.contest.asked import require_arm
from postlude.contest.plan import Contest
from postlude.contest.results import Result, peaks_in, result_of, unequal
from postlude.contest.running import Choice, choices
from postlude.contest.verdicts import ENOUGH, Difference, Runs, Summary, differences, figures_of, finished, summaries
from postlude.doctor.watching import ALARM
from postlude.errors import ConfigError
from postlude.learning import NOTHING_LEARNT
from postlude.runs.figures import lookup
from postlude.statistics import mean
from postlude.words import meant

SCHEMA = 1


@dataclass(frozen=True)
class Comparison:
    """What there is of a comparison. Read with `Comparison.of(folder)`."""

    folder: Path
    contest: Contest
    results: Sequence[Result]
    """Of the runs that are reported, arm by arm."""
    wanted: Sequence[str] = ()
    """Figures that were asked for; empty chooses."""
    baseline: str | None = None
    """The arm that the others are held against; None tests every pair."""
    chosen: Mapping[str, Choice] = field(default_factory=dict[str, Choice])
    """Arm -> what a sweep gave it."""
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Place of a run -> the error that ended it just now."""

    @classmethod
    def of(
        cls,
        folder: Path,
        wanted: Sequence[str] = (),
        baseline: str | None = None,
        failed: Mapping[str, str] | None = None,
    ) -> Self:
        """Raises ConfigError where the folder holds none, or for names that it does not know."""
        contest = Contest.read(folder)
        require_arm(baseline, contest.arms)
        chosen = choices(contest, folder) if contest.tuning else {}
        settings = {arm: choice.settings for arm, choice in chosen.items()}
        peaks = peaks_in(folder)
        results = [result_of(job, folder, peaks) for job in contest.runs(settings)]
        results.sort(key=lambda result: contest.arms.index(result.job.arm))
        comparison = cls(folder, contest, results, wanted, baseline, chosen, failed or {})
        comparison._require_figures()
        return comparison

    def _require_figures(self) -> None:
        there = dict.fromkeys(name for by_seed in self.runs.values() for r in by_seed.values() for name in r.figures)
        for name in self.wanted:
            if there and name not in there:
                raise ConfigError(
                    f"--metric: no run was measured by {name!r}.{meant(name, there)} There are {', '.join(there)}.",
                    code="unknown-name",
                    key="--metric",
                )

    # ---------------------------------------------------------------------------------------------- what it says

    @cached_property
    def runs(self) -> Runs:
        """Arm -> seed -> finished run."""
        return finished(self.results)

    @cached_property
    def figures(self) -> list[str]:
        """Those that are compared; the first leads."""
        return figures_of(self.runs, self.wanted)

    @cached_property
    def summaries(self) -> list[Summary]:
        return [*summaries(self.runs, self.figures)]

    @cached_property
    def differences(self) -> list[Difference]:
        return [*differences(self.runs, self.figures, self.baseline)]

    def summary(self, figure: str, arm: str) -> Summary | None:
        return next((s for s in self.summaries if (s.figure, s.arm) == (figure, arm)), None)

    @property
    def done(self) -> bool:
        """Whether every run has finished."""
        return all(result.state == "finished" for result in self.results)

    def used(self, arm: str) -> dict[str, float | None]:
        """Means over the finished runs of an arm: steps, tokens (sampled, passed), seconds; of memory the most."""
        each = [result.used for result in self.runs[arm].values()]
        if not each:
            return {}
        peaks = [u.peak for u in each if u.peak]
        names = ("steps", "sampled", "passed", "tokens", "seconds")
        means: dict[str, float | None] = {name: mean([float(getattr(u, name)) for u in each]) for name in names}
        return means | {"peak": max(peaks) if peaks else None}

    @cached_property
    def notes(self) -> list[str]:
        """What must be known beside the table, in sentences."""
        return [
            *self._unfinished(),
            *self._told(),
            *unequal(self.results),
            *self._budgets(),
            *self._seeds(),
            *self._sweeps(),
        ]

    def _unfinished(self) -> Iterator[str]:
        for result in self.results:
            why = self.failed.get(result.job.place)
            if why is not None:
                yield f"{result.job.place} failed: {why}"
            elif result.state not in ("finished", "waiting"):
                yield f"{result.job.place} is {result.state}: {result.why}"
        waiting = sum(r.state == "waiting" and r.job.place not in self.failed for r in self.results)
        if waiting:
            yield f"{waiting} of {len(self.results)} runs have not begun"
        if not self.done:
            yield f"go on with: postlude compare {self.folder} --resume"

    def _told(self) -> Iterator[str]:
        """What runs themselves noted that makes their figures doubtful."""
        for result in self.results:
            rows = result.history.of("note") if result.history is not None else ()
            taught = [str(row["text"]) for row in rows if row.get("code") == NOTHING_LEARNT]
            rules = [str(row["data"]["rule"]) for row in rows if row.get("code") == ALARM and "data" in row]
            if taught:
                yield f"{result.job.place}: {taught[-1]}"
            if rules:
                place = self.folder / result.job.place
                yield f"{result.job.place}: alarms {', '.join(dict.fromkeys(rules))} (postlude doctor {place})"

    def _budgets(self) -> Iterator[str]:
        """Whoever used less than all, or much more than the least of a step allows."""
        allowance = self.contest.allowance
        for arm, by_seed in self.runs.items():
            used = [r.used.of(allowance.kind) for r in by_seed.values()]
            if used and min(used) < allowance.amount:
                yield f"{arm} used {min(used):,.0f} of {allowance}: it ended before its budget did"
            beyond = max(used, default=0.0) / allowance.amount - 1
            if beyond > 0.05:
                yield f"{arm} used {beyond:.0%} more than {allowance}: its last step was as large as that"

    def _seeds(self) -> Iterator[str]:
        counts = {arm: len(by_seed) for arm, by_seed in self.runs.items() if by_seed}
        if counts and max(counts.values()) == 1:
            yield "one seed: nothing can be said of seeds; intervals are over prompts, for just these runs"
        elif counts and max(counts.values()) < ENOUGH:
            yield (
                "two seeds say next to nothing of others: intervals over seeds are of 12.7 standard errors each way, "
                "those of differences may miss one time in ten, so that no p is to be relied on; take three at least"
            )
        if len({*counts.values()}) > 1:
            yield "arms have finished different numbers of seeds; pairs are of the seeds that both have"

    def _sweeps(self) -> Iterator[str]:
        for arm, choice in self.chosen.items():
            text = " ".join(f"{key}={value}" for key, value in choice.settings.items())
            yield f"{arm} got {text}" + (
                ", the least or the most that was tried: a better one may lie beyond" * choice.edge
            )

    # ------------------------------------------------------------------------------------------------ for programs

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return {
            "schema": SCHEMA,
            "recipe": self.contest.recipe,
            "budget": {self.contest.allowance.kind: self.contest.allowance.amount},
            "seeds": [*self.contest.seeds],
            "done": self.done,
            "arms": {
                entry.arm.name: {"settings": dict(entry.arm.settings), "used": self.used(entry.arm.name)}
                for entry in self.contest.entries
            },
            "chosen": {arm: asdict(choice) for arm, choice in self.chosen.items()},
            "figures": [
                {"name": name, "better": f.better if (f := lookup(name)) else None, "label": f.label if f else name}
                for name in self.figures
            ],
            "summaries": [asdict(summary) for summary in self.summaries],
            "differences": [{**asdict(d), "differs": d.differs, "words": d.words()} for d in self.differences],
            "runs": self.rows(),
            "notes": self.notes,
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row for each run: what it used, and its last evaluation."""
        return [
            {
                "arm": r.job.arm,
                "seed": r.job.seed,
                "state": "failed" if r.job.place in self.failed else r.state,
                "steps": r.used.steps,
                "sampled_tokens": r.used.sampled,
                "passed_tokens": r.used.passed,
                "seconds": round(r.used.seconds, 3),
                "peak_bytes": r.used.peak,
                **r.job.settings,
                **r.figures,
                "folder": str(self.folder / r.job.place),
            }
            for r in self.results
        ]
