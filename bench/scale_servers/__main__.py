"""`python -m bench.scale_servers`: a table and claims of each part. Exit 1 where one does not hold."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench.scale_servers.failures import failures
from bench.scale_servers.faults import faults
from bench.scale_servers.learning import learning
from bench.scale_servers.material import Place
from bench.scale_servers.methods import methods
from bench.scale_servers.processes import gone
from bench.scale_servers.publishing import publish
from bench.scale_servers.report import WIDTH, Report, save, show
from postlude.errors import PostludeError
from postlude.models.quiet import quiet
from tests.fake_vllm import interpreter

PARTS: Mapping[str, Callable[[Place], Report]] = {
    "publish": publish,
    "learning": learning,
    "methods": methods,
    "failures": failures,
    "faults": faults,
}
VLLM, REAL = Path(".venv-vllm/bin/python"), Path(".models/smollm2")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scale_servers", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--python", type=Path, default=VLLM, help=f"the servers' interpreter (default: {VLLM})")
    parser.add_argument("--fake", action="store_true", help="the fake server of the tests instead")
    parser.add_argument(
        "--model", type=Path, default=REAL, help=f"a real model's folder (default: {REAL}, if it is there)"
    )
    parser.add_argument("--folder", type=Path, default=Path("scale-servers"), help="where runs and results.json go")
    parser.add_argument("--steps", type=int, default=50, help="of each run that learns")
    asked = parser.parse_args(words)
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    python = _faked(folder) if asked.fake else asked.python.absolute()
    if not python.exists():
        print(
            f"there is no {asked.python}: `make vllm-env` makes it, in five minutes. --fake needs none.",
            file=sys.stderr,
        )
        return 2
    real = asked.model if (asked.model / "config.json").exists() else None
    place = Place(folder, python, real.absolute() if real else None, asked.fake, asked.steps)
    return run(place, asked.only)


def run(place: Place, parts: list[str]) -> int:
    """Each part as it ends; what one could not even measure does not hold."""
    console, reports = Console(width=max(Console().width, WIDTH)), list[Report]()
    for name in parts:
        started = time.monotonic()
        try:
            with quiet():
                report = PARTS[name](place)
        except PostludeError as error:
            report = Report(name, ())
            report.claim("it comes to its end", False, str(error))
        report.seconds = time.monotonic() - started
        show(console, report)
        reports.append(report)
        save(place.folder / "results.json", reports)
    lost = sum(not claim.holds for report in reports for claim in report.claims)
    held = sum(claim.holds for report in reports for claim in report.claims)
    console.print(f"{held} claims hold, {lost} do not: {place.folder / 'results.json'}", soft_wrap=True)
    return 0 if all(report.holds for report in reports) else 1


def _faked(folder: Path) -> Path:
    gone(folder / "fake")
    return interpreter(folder / "fake", piece=8)


if __name__ == "__main__":
    sys.exit(main())
