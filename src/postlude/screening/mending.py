"""A file with what can be mended mended, and what cannot in a file beside it; nothing is made up, every row counted."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from postlude.errors import ConfigError, DataError, Problem
from postlude.screening.checked import check_rows
from postlude.screening.entries import entries
from postlude.screening.preferences import conflicts
from postlude.screening.repeats import duplicates
from postlude.screening.screen import Screened
from postlude.sources.cells import read_cells
from postlude.sources.forms import ANSWERS, CONVERSATIONS, Reading
from postlude.sources.reading import SEPARATED, kind_of, read
from postlude.sources.table import Balance, Table

Values = dict[str, Any]
REJECTED = ".rejected.jsonl"


@dataclass
class Mended:
    """Rows to write, rows to leave out, and what was done to those that are written."""

    rows: list[Values] = field(default_factory=list[Values])
    numbers: list[int] = field(default_factory=list[int])
    """Of each, its place among the rows of the file, from 0, for tables that are cut instead of written anew."""
    left_out: list[Problem] = field(default_factory=list[Problem])
    mends: Counter[str] = field(default_factory=Counter[str])
    """What was done -> to how many rows, or lines."""
    balance: Balance | None = None


def mend(screened: Screened, target: Path) -> Mended:
    """What would be written to `target`."""
    table, result = screened.table, Mended()
    dropped = _dropped(screened)
    result.left_out = [*table.problems, *dropped.values()]
    good = {row.where for row in table.rows}
    kind, _ = kind_of(target)
    for place, values in table.written.items():
        if place in good and place not in dropped and isinstance(values, Mapping):
            result.rows.append(_mended(values, kind or "", result.mends))
            result.numbers.append(int(re.findall(r"\d+", place)[-1]) - 1)
    lines = {
        "byte order marks left out": table.marks,
        "line ends of Windows": table.returns,
        "blank lines left out": table.blank,
    }
    result.mends.update({name: n for name, n in lines.items() if n})
    if not result.rows:
        raise DataError(
            [*table.shown(), Problem("no-usable-row", f"--fix: no good row of {table.read} is left to write.")]
        )
    reasons = Counter(problem.code for problem in dropped.values())
    result.balance = table.balance(reasons)
    return result


def _dropped(screened: Screened) -> dict[str, Problem]:
    """Place -> why a good row is left out: both sides of a contradiction, and what stands there again."""
    dropped: dict[str, Problem] = {}
    for place, other in conflicts(screened.entries):
        for one, opposite in ((place, other), (other, place)):
            sentence = f"prefers what {opposite} rejects, and rejects what it prefers"
            dropped.setdefault(one, Problem("conflict", sentence).at(one))
    rest = [entry for entry in screened.entries if entry.place not in dropped]
    for place, first in duplicates(rest):
        dropped[place] = Problem("duplicate", f"is the same as {first}").at(place)
    return dropped


def _mended(values: Mapping[str, Any], kind: str, mends: Counter[str]) -> Values:
    """A row with what is certain set right. `kind` of the file: one of Parquet keeps the types of its columns, and
    cells hold no lists."""
    row = dict(values)
    if kind == ".parquet":
        return row
    if kind not in SEPARATED:
        read = read_cells(row, CONVERSATIONS)
        mends["lists and messages that stood as text"] += read != row
        row = read
    for name in ANSWERS:
        gold = row.get(name)
        if isinstance(gold, float) and gold.is_integer():
            row[name] = int(gold)
            mends["whole numbers written as 42.0 in answers"] += 1
    return row


# ------------------------------------------------------------------------------------------------------ writing


def require_target(source: str, target: Path) -> None:
    """OUT is a new file of the kind that FILE is. Raises ConfigError."""
    kind, packing = kind_of(target)
    whole = Path(source).expanduser()
    from_file = whole.is_file()
    families = [".jsonl", ".ndjson"], [".json"], [".csv"], [".tsv"], [".parquet"]
    if from_file and whole.exists() and target.exists() and whole.samefile(target):
        raise ConfigError(f"--fix: {str(target)!r} is FILE itself, which stays as it is.", code="exists-already")
    for path in (target, rejected_of(target)):
        if path.exists() or path.is_symlink():
            raise ConfigError(f"--fix: {str(path)!r} exists already. Give another name.", code="exists-already")
    wanted = next((f for f in families if kind_of(whole)[0] in f), [".jsonl", ".ndjson", ".parquet"])
    if kind not in wanted or packing not in ("", ".gz"):
        ways = " or ".join(f"{name} ({name}.gz)" if name != ".parquet" else name for name in wanted)
        raise ConfigError(f"--fix: OUT must end with {ways}, as {source!r} does.", code="unsupported-file")


def rejected_of(target: Path) -> Path:
    return target.with_name(target.name + REJECTED)


def part_of(target: Path) -> Path:
    """What is written first, beside the target, and of the same kind by its name."""
    return target.with_name(f".part-{os.getpid()}-{target.name}")


def write(mended: Mended, table: Table, source: str, part: Path) -> None:
    """Write the good rows, for `put`."""
    kind, _ = kind_of(part)
    if kind == ".parquet":
        _write_parquet(mended, source, part)
    else:
        with _opened(part) as file:
            if kind in SEPARATED:
                _write_cells(mended.rows, table, file, SEPARATED[kind])
            elif kind == ".json":
                file.write("[" + ",\n".join(map(_line, mended.rows)) + "]\n")
            else:
                file.writelines(_line(row) + "\n" for row in mended.rows)


def require_clean(part: Path, count: int, screened: Screened, model: str | None, reading: Reading) -> None:
    """Raise DataError where a written file, read as the first one was, does not hold `count` good rows and no other."""
    table = read(str(part))
    checked = check_rows(table, screened.checked.need, model, reading)
    again = entries(table, checked.kind, checked.compared)
    left = [*table.problems, *duplicates(again), *conflicts(again)]
    if left or not len(table.rows) == table.read == count:
        raise DataError(
            f"--fix: the file that was written is not clean ({len(table.rows)} good of {count} rows; {left[:1]}), so "
            "it is not kept. Please report this.",
            code="no-usable-row",
        )


def put(mended: Mended, table: Table, part: Path, target: Path) -> None:
    """The file under its name, what was left out under its own before it."""
    beside = rejected_of(target)
    part_beside = part_of(beside)
    try:
        with _opened(part_beside) as file:
            file.writelines(_line(left) + "\n" for left in _left_out(mended.left_out, table))
        part_beside.replace(beside)
        part.replace(target)
    finally:
        part_beside.unlink(missing_ok=True)


def _left_out(problems: Iterable[Problem], table: Table) -> Iterator[Values]:
    for problem in problems:
        yield {
            "place": problem.place,
            "code": problem.code,
            "reason": problem.removeprefix(f"{problem.place}: "),
            "row": table.written.get(problem.place),
        }


def _line(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character in a column that nobody reads
        return json.dumps(row, default=str)
    return text


@contextmanager
def _opened(part: Path) -> Iterator[IO[str]]:
    """A text file, packed where its name says so, on disk once the block ends."""
    import gzip
    import io

    with part.open("xb") as raw:
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if part.suffix.lower() == ".gz" else raw
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="")  # type: ignore[arg-type]
        yield text
        text.flush()
        text.detach()
        if packed is not raw:
            packed.close()
        raw.flush()
        os.fsync(raw.fileno())


def _write_cells(rows: Iterable[Values], table: Table, file: IO[str], delimiter: str) -> None:
    names = next((list(row) for row in table.written.values() if isinstance(row, Mapping)), [])
    writer = csv.DictWriter(file, names, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _write_parquet(mended: Mended, source: str, part: Path) -> None:
    """The table's own rows with its own types; of a data set anew."""
    import pyarrow
    from pyarrow import parquet

    if Path(source).suffix.lower() == ".parquet":
        whole = parquet.read_table(Path(source).expanduser()).take(mended.numbers)
    else:
        whole = pyarrow.Table.from_pylist(mended.rows)
    parquet.write_table(whole, part)
