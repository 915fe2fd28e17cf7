"""The self-test on small models of every architecture and on a real one: `make selftest`, docs/selftest.md.

Figures are kept in docs/selftest.json, so that the page can be written anew without measuring:

    python -m bench.selftest                    every architecture and number format, two minutes
    python -m bench.selftest MODEL [NAME [DTYPE]...]    a real model in float32 and bfloat16, ten minutes
    python -m bench.selftest --page             the page alone
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from postlude.selftest.table import CHECKS
from postlude.selftest.tolerance import SAFETY, WORDS

DOCS = Path(__file__).parent.parent / "docs"
PAGE, FIGURES = DOCS / "selftest.md", DOCS / "selftest.json"
DTYPES = ("float32", "bfloat16", "float64")

HEAD = f"""# Self-test

`postlude selftest` shows what holds on your machine, with your model: every fast way is compared with a plain one,
every file with what was in memory, every cut of an update with the whole, within limits that follow from the number
format.

```sh
postlude selftest                                             # a tiny model made on the spot, seconds
postlude selftest model=my-model                              # a folder, a run (its newest checkpoint), or a hub id
postlude selftest model=my-model engine.dtype=bfloat16 sampling.temperature=1.0
postlude selftest model=my-model --only packed --only decode  # these alone
postlude selftest model=my-model --json                       # for machines
```

The exit code is 2 where a check fails. Nothing is written outside a temporary folder, and nothing downloaded unless
`model` is a hub id. It holds the model, the optimiser's state and two gradients at a time, about 6 x the weights in
float32, and writes two checkpoints. What does not apply to a model is skipped with the reason (one that cannot run
packed has no packed rows to compare); a reward model or an encoder-decoder is refused with a sentence. A folder that
holds an adapter is tested merged into its model, and with a new adapter on top.

## The limits

A difference passes only where rounding explains it. With u half the distance from 1 to the next number (2^-24 in
float32, 2^-8 in bfloat16), L layers, hidden width d, and s, by how much the logits of a position differ (their standard
deviation, measured on the model):

| kind | limit | in |
|---|---|---|
| log-prob | {SAFETY:g} u sqrt(L d) s, in bfloat16 {SAFETY:g} u sqrt(L) s | {WORDS["log-prob"]} |
| tempered | the same, divided by a temperature below 1 | {WORDS["tempered"]} |
| gradient | {SAFETY:g} u sqrt(L d), {SAFETY:g} u sqrt(L) | {WORDS["gradient"]} |
| step | 2 sqrt(g / pi), g the limit of a gradient | {WORDS["step"]} |
| merged | as a log-prob in float32 | {WORDS["merged"]} |
| exact | 0 | {WORDS["exact"]} |

Why: a layer's roundings are as good as independent, so the error of a hidden state grows as the square root of their
number. In half precision a product is summed in float32 and rounded once; in float32 a sum of d products is itself
rounded at every step, which makes sqrt(d) of it (Higham and Mary, 2019). An error that points anywhere moves a logit by
that share of what logits differ by. {SAFETY:g} stands for the dozen roundings of a layer, the two ways that are
compared, and the largest of some hundred differences (`src/postlude/selftest/tolerance.py`). AdamW's first step has the
size of the learning rate and the sign of the gradient: of a gradient with the relative error g the share g / pi of the
signs turns.
A float64 model has the limits of float32, since the modules' norms and rotary angles are in that.

The log-probs of a bfloat16 model are coarse: a fault that moves none of them by more than the limit is not seen
there. Run the float32 test as well; it looks at the same code with a limit a thousand times finer.

Resuming is exact on a processor; on a GPU, whose sums have no fixed order, it has the limit of a step.

## The checks

Each has a fault planted in the tests (`tests/selftest/test_planted.py`), and fails there, in float32 and in bfloat16.

| check | what was compared | kinds |
|---|---|---|
"""


def page(figures: dict[str, Any]) -> str:
    """The page, of figures that were measured."""
    text = HEAD + "".join(f"| {c.name} | {c.compares} | {', '.join(c.kinds)} |\n" for c in CHECKS)
    lines = [*_of_models(figures.get("models", {})), *_of_architectures(figures.get("architectures", {}))]
    return text + "\n".join(lines) + "\n"


def _of_models(models: dict[str, Any]) -> Iterator[str]:
    for name, reports in models.items():
        reports = {dtype: report for dtype, report in reports.items() if "refused" not in report}
        yield from ("", f"## {name}", "")
        yield "Measured by `make selftest` on two cores that did other work at the time: yours take fewer seconds."
        yield ""
        for dtype, report in reports.items():
            yield (
                f"{dtype}: path {report['path']}, {report['seconds']:.0f} s, at most {report['gib']:.1f} GiB. Limits: "
                f"log-prob {report['limits']['log-prob']:.1e} nats, gradient {report['limits']['gradient']:.1e}, step "
                f"{report['limits']['step']:.1e}."
            )
            yield ""
        yield "| check | " + " | ".join(f"{d} | s" for d in reports) + " |"
        yield "|---|" + "---|---|" * len(reports)
        for check in CHECKS:
            rows = [report["checks"][check.name] for report in reports.values()]
            yield f"| {check.name} | " + " | ".join(f"{_cell(row)} | {row['seconds']:.0f}" for row in rows) + " |"


def _cell(row: dict[str, Any]) -> str:
    if not row["differences"]:
        return f"{row['status']}: {row['reason']}"
    said = ", ".join(f"{kind} {value:.1e}" if value else f"{kind} 0" for kind, value in row["differences"].items())
    return f"{row['status']} ({said})"


def _of_architectures(architectures: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Small models of every architecture", "")
    yield "Made on the spot with random weights. A number is the largest difference as a share of its limit; `-` is"
    yield "skipped."
    for dtype in DTYPES:
        reports = {name: of[dtype] for name, of in architectures.items() if dtype in of}
        refused = {name: report["refused"] for name, report in reports.items() if "refused" in report}
        held = {name: report for name, report in reports.items() if name not in refused}
        yield from ("", f"### {dtype}", "", "| check | " + " | ".join(held) + " |", "|---|" + "---|" * len(held))
        for check in CHECKS:
            yield f"| {check.name} | " + " | ".join(_share(r["checks"][check.name]) for r in held.values()) + " |"
        for name, why in refused.items():
            yield from ("", f"{name} is refused: {why}")
        skipped = {r["reason"]: None for of in held.values() for r in of["checks"].values() if r["status"] == "skipped"}
        for why in skipped:
            yield from ("", f"Skipped: {why}.")


def _share(row: dict[str, Any]) -> str:
    if row["status"] == "skipped":
        return "-"
    share = max((v / row["tolerances"][k] if v else 0.0 for k, v in row["differences"].items()), default=0.0)
    return f"{share:.2f}" if row["status"] == "ok" else f"**FAILED** ({share:.2g})"


# ------------------------------------------------------------------------------------------------------- measuring


def _compact(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": report["path"],
        "limits": {kind: limit["limit"] for kind, limit in report["tolerances"].items()},
        "checks": {
            row["check"]: {k: v for k, v in row.items() if k not in ("check", "compares")} for row in report["checks"]
        },
    }


def of_command(path: str, dtype: str) -> dict[str, Any]:
    """What `postlude selftest` says of a model; or why it refuses."""
    command = [str(Path(sys.executable).with_name("postlude")), "selftest", f"model={path}", f"engine.dtype={dtype}"]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=told, text=True)
        assert process.stdout is not None
        said = process.stdout.read()
        _, _, usage = os.wait4(process.pid, 0)
        told.seek(0)
        refusal = " ".join(told.read().split()).removeprefix("error ")
    if not said:
        return {"refused": refusal}
    report = json.loads(said)
    return _compact(report) | {"seconds": time.monotonic() - began, "gib": usage.ru_maxrss / 2**20}


def _here(folder: str, dtype: Any) -> dict[str, Any]:
    """The same of a small model, in this process."""
    from postlude.engines.settings import Local
    from postlude.errors import PostludeError
    from postlude.models.load import inspect
    from postlude.models.spec import ModelSpec
    from postlude.selftest.report import About, Report
    from postlude.selftest.running import Runner
    from postlude.selftest.subject import Setup

    with tempfile.TemporaryDirectory() as place:
        setup = Setup(folder, inspect(ModelSpec(folder)), Path(place), Local(dtype=dtype, device="cpu"))
        runner = Runner(setup)
        try:
            about = About.of(folder, runner.subject(adapted=False))
        except PostludeError as error:
            return {"refused": str(error)}
        return _compact(Report(about, list(runner.results(CHECKS))).json())


def measure_model(path: str, name: str, dtypes: Sequence[str]) -> None:
    """A real model in the two formats that runs use."""
    for dtype in dtypes:
        report = of_command(path, dtype)
        figures = _read()
        figures.setdefault("models", {}).setdefault(name, {})[dtype] = report
        _write(figures)


def measure_architectures() -> None:
    """Small models, each in a folder of its own."""
    from postlude.models.quiet import quiet
    from postlude.models.tiny import character_tokenizer
    from tests.conftest import PACKED, build

    figures = _read()
    figures["architectures"] = {}
    for name in (*PACKED, "gpt_neo"):
        with tempfile.TemporaryDirectory() as folder, quiet():
            build(name).save_pretrained(folder)
            character_tokenizer().save_pretrained(folder)
            figures["architectures"][name] = {dtype: _here(folder, dtype) for dtype in DTYPES}
        print(name, flush=True)
    _write(figures)


def _read() -> dict[str, Any]:
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {}


def _write(figures: dict[str, Any]) -> None:
    kinds = [f"{json.dumps(kind)}: {{\n{_lines(figures[kind])}\n}}" for kind in figures]
    FIGURES.write_text("{\n" + ",\n".join(kinds) + "\n}\n")
    PAGE.write_text(page(figures))


def _lines(figures: dict[str, Any]) -> str:
    """A model in a line."""
    return ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in figures.items())


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--page"]:
        PAGE.write_text(page(_read()))
    elif arguments:
        path, name, *formats = [*arguments, *[Path(arguments[0]).name][len(arguments) - 1 :]]
        measure_model(path, name, formats or DTYPES[:2])
    else:
        measure_architectures()
