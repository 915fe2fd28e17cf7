"""Agreement with a file of cases: `python -m postlude.maths CASES.jsonl`.

A case is a line {"gold": ..., "response": ..., "equivalent": true or false, "note": ...}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postlude import plain_json
from postlude.maths.verify import Result, Verifier

_ABOUT = (
    "Agreement of the reward `maths` with a file of cases, one object with gold, response and equivalent (true or "
    "false) a line: each disagreement, then the counts. Exit code 1 where a wrong answer was accepted, 2 where the "
    "file cannot be read."
)
SIMPLE = [("1234", "\\boxed{1,234}"), ("0.5", "\\boxed{\\frac{1}{2}}"), ("-7", "The answer is \\boxed{-7}."),
          ("3/4", "\\boxed{0.75}"), ("18", "so she has 18.\n#### 18"), ("\\frac{2}{3}", "$\\boxed{\\dfrac{4}{6}}$"),
          ("12.5", "\\boxed{12.50}"), ("42", "Answer: 41")]  # fmt: skip
"""Answers like those of GSM8K and MATH, for the measure of speed."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m postlude.maths", description=_ABOUT)
    parser.add_argument("cases", metavar="CASES.jsonl")
    arguments = [parser.parse_args(arguments).cases]
    try:
        cases = list(_cases(Path(arguments[0])))
    except OSError as error:
        print(f"{arguments[0]}: {error.strerror}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{arguments[0]} {error}", file=sys.stderr)
        return 2
    verifier = Verifier()
    results = [verifier.verify(c["gold"], c["response"]) for c in cases]
    pairs = list(zip(cases, results, strict=True))
    accepts = [(c, r) for c, r in pairs if r.verdict == "equal" and not c["equivalent"]]
    rejects = [(c, r) for c, r in pairs if r.verdict != "equal" and c["equivalent"]]
    _list("wrongly accepted", accepts)
    _list("wrongly rejected", rejects)
    _summary(results, len(accepts), len(rejects))
    return 1 if accepts else 0


def _cases(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            case = plain_json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: not JSON: {error}") from error
        missing = {"gold", "response", "equivalent"} - (case.keys() if isinstance(case, dict) else set())
        if missing:
            raise ValueError(f"line {number}: {', '.join(sorted(missing))} missing")
        if not isinstance(case["response"], str) or not isinstance(case["equivalent"], bool):
            raise ValueError(f"line {number}: response must be text and equivalent true or false")
        yield case


def _list(title: str, wrong: list[tuple[dict[str, Any], Result]]) -> None:
    if wrong:
        print(f"{title}:")
    for case, result in wrong:
        print(f"  gold {_short(case['gold'])}  response {_short(case['response'])}  {case.get('note', '')}")
        print(f"    {result.verdict} ({result.rule}): {_short(result.gold)} against {_short(result.answer)}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 80 else text[:50] + " ... " + text[-25:]


def _summary(results: list[Result], accepts: int, rejects: int) -> None:
    total = len(results)
    right = total - accepts - rejects
    verdicts = ", ".join(f"{n} {v}" for v, n in Counter(r.verdict for r in results).most_common())
    print(f"cases             {total}: {verdicts}")
    print(f"agreement         {right} of {total} ({right / max(total, 1):.1%})")
    print(f"wrongly accepted  {accepts}\nwrongly rejected  {rejects}")
    print(f"slowest           {max((r.seconds for r in results), default=0):.2f} s")
    print(f"simple answers    {_speed():,.0f} per second on one core")


def _speed(seconds: float = 1.0) -> float:
    verifier, count, started = Verifier(), 0, time.process_time()
    while time.process_time() - started < seconds:
        for place in range(100):
            gold, response = SIMPLE[place % len(SIMPLE)]
            verifier.verify(gold, f"Step {count + place}. {response}")
        count += 100
    return count / (time.process_time() - started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
