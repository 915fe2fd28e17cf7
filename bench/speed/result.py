"""What a cell gave, as a row of a table, and the page of all of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.speed import idle, turns
from bench.speed.cells import CELLS, Cell, cell_of
from bench.speed.limits import Machine

PAGE = Path("docs/performance.md")
GROWTH = Path("docs/growth.svg")
LEFT_OUT = (
    "A bf16 cell is left out on a machine whose bf16 products are slower than a quarter of its float32 ones: it would "
    "measure their emulation. Single runs of cells that are missing here stand in bench/NOTES.md."
)
HEAD = """\
# Speed against TRL

Made by `make bench`, which runs postlude and TRL {trl} (torch {torch}, transformers {transformers}) on the same
weights, prompts and settings, step by step in alternation, each contestant in a process of its own on one thread.
Before anything is timed, one frozen batch is compared: SFT's loss, and for GRPO, whose loss is always near 0, the norm
of the gradient (with a reference: of the second step, where the policy has left it). DPO, KTO and reward models take
the same rows in the same order on both sides, and losses and gradient norms of the first two steps are compared. All
must agree to 1e-4 (bf16 cells: to 5 %, since TRL computes under autocast). postlude is a whole run as `postlude train`
makes it, events and rollouts written.

DPO and KTO are timed in their first epoch, where every row is new: both sides compute the reference's log-probs in
every step, TRL because that is its default (`precompute_ref_log_probs=False`), postlude because it has not seen the
row. From the second epoch on postlude knows them and leaves that pass out (KTO's for its reference point stays); no
figure here counts that.

**ratio**: CPU seconds of TRL over ours, gradient checkpointing off, median of {pairs} pairs (smallest and largest).
**must, aim**: what we set out to reach. **as shipped**: the ratio to TRL with its own default, gradient checkpointing
on. **memory**: TRL's peak resident memory over ours, whole processes, about 450 MB of libraries on both sides.
**limit**: our time over what the linear and output layers alone take at the rates measured in the same run: {machine}.

R1 to R5 run SmolLM2-135M-Instruct (`make real-model`), with a token it never writes as the end of answers, so that
lengths are equal. They have three pairs, and TRL as shipped is left out.

A ratio is of one machine on one day; read it with its spread. A cell that falls short says so.

| cell | workload | ratio | must / aim | reached | as shipped | ours / TRL | memory | limit |
|---|---|---|---|---|---|---|---|---|
"""


@dataclass
class Result:
    """What one cell gave; CPU seconds are per token where answers end by themselves, else per step."""

    cell: Cell
    ours: float
    trl: float
    ratio: float
    spread: tuple[float, float]
    shipped: float | None
    """Ratio to TRL with gradient checkpointing, as it comes."""
    memory: float
    """TRL's peak over ours."""
    peak: float
    """Ours, in MB."""
    limit: float | None
    """CPU seconds the machine's matrix products and memory would need for our step."""
    check: str
    run: str = ""
    """When and where it was measured."""

    @property
    def reached(self) -> str:
        enough = self.cell.memory is None or self.memory >= self.cell.memory
        if self.ratio >= self.cell.aim and enough:
            return "aim"
        return "must" if self.ratio >= self.cell.must and enough else "**short**"


def line(r: Result) -> str:
    """A row of the table."""
    c = r.cell
    unit = 1e6 / 1e3 if c.natural or c.kind == "sft" else 1.0
    shown = f"{r.ours * unit:.3f} / {r.trl * unit:.3f}" + (" ms/token" if unit != 1 else " s")
    memory = f"{r.memory:.2f}" + (f" (must {c.memory:g})" if c.memory else "")
    cells = [
        c.name,
        f"{c.what}; {c.shape.parameters / 1e6:.1f} M, {c.prompts}x{c.group}, {c.prompt}+{c.answer}",
        f"**{r.ratio:.2f}** ({r.spread[0]:.2f}-{r.spread[1]:.2f})",
        f"{c.must:.2f} / {c.aim:.2f}",
        r.reached,
        f"{r.shipped:.2f}" if r.shipped else "",
        shown,
        memory,
        f"{r.limit:.1f}x" if r.limit else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _with_earlier(results: list[Result]) -> list[Result]:
    """The cells of this run, and those of the last page that it did not measure."""
    known = {r.cell.name: r for r in results}
    path = PAGE.with_suffix(".json")
    for row in json.loads(path.read_text()) if path.exists() else []:
        cell = cell_of(json.dumps(row["cell"]))
        known.setdefault(cell.name, Result(**{**row, "cell": cell, "spread": tuple(row["spread"])}))
    return [known[c.name] for c in CELLS if c.name in known]


def write_page(results: list[Result], machine: Machine) -> None:
    """docs/performance.md, and the figures beside it as JSON."""
    from importlib.metadata import version

    from bench.speed.__main__ import PAIRS

    versions = {name: version(name) for name in ("trl", "torch", "transformers")}
    head = HEAD.format(**versions, pairs=PAIRS, machine=machine.text)
    results = _with_earlier(results)
    absent = [c.name for c in CELLS if c.name not in {r.cell.name for r in results}]
    runs: dict[str, list[str]] = {}
    for r in results:
        runs.setdefault(r.run or "an earlier day", []).append(r.cell.name)
    left = "\n" + "".join(f"Measured on {run}: {', '.join(names)}.\n" for run, names in runs.items())
    left += f"\nNot measured: {', '.join(absent)}. {LEFT_OUT}\n" if absent else ""
    notes = left + "\nWhat was tried, predicted and measured on the way is in [bench/NOTES.md](../bench/NOTES.md).\n"
    shown = "\nHow step time and memory grow (`make bench-growth`):\n\n![growth](growth.svg)\n"
    drawn = idle.section() + turns.section() + (shown if GROWTH.exists() else "")
    PAGE.write_text(head + "".join(line(r) + "\n" for r in results) + notes + drawn)
    PAGE.with_suffix(".json").write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
