"""CSV, TSV, Parquet and data sets of the `datasets` library as tables of plain Python values."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from postlude.errors import DataError, Problem
from postlude.sources.bounded import MOST_RATIO
from postlude.sources.table import KEPT, MAX_RECORD, Table

MOST_BYTES = 1 << 30
"""Of a Parquet file's rows, where that is more than `MOST_RATIO` times the file's own: a dictionary stands for the same
text in many rows, and files of prompts under one long instruction do that too."""
MISSING = {"nan", "NaN", "NAN", "-nan", "NaT", "<NA>", "None", "null", "NULL", "inf", "-inf"}
"""What libraries write into a cell of CSV where there is no value."""

# ------------------------------------------------------------------------------------------------ CSV and TSV


def read_separated(table: Table, lines: Iterable[str], delimiter: str) -> None:
    """Rows of CSV or TSV lines under a header. Cells are text; an empty one is null, and so is `MISSING`."""
    before = csv.field_size_limit(MAX_RECORD)
    try:
        _read_cells(table, csv.reader(lines, delimiter=delimiter, strict=True))
    finally:
        csv.field_size_limit(before)


def _read_cells(table: Table, reader: Any) -> None:
    header: list[str] | None = None
    missing = Counter[str]()
    for line, cells in _records(table, reader):
        where = f"{table.path}:{line}"
        if header is None:
            if isinstance(cells, str):
                raise DataError(f"{where}: the header is not CSV: {cells}.", code="not-csv")
            header = _header(where, cells)
            continue
        table.read += 1
        if isinstance(cells, str):
            table.reject(where, Problem("not-csv", f"not CSV: {cells}"))
        elif len(cells) != len(header):
            table.keep(where, ",".join(cells)[:KEPT])
            table.reject(
                where,
                Problem(
                    "not-csv",
                    f"{len(cells)} cells, but the header names {len(header)} columns (a cell that holds a delimiter, a "
                    "quote or a line break must be quoted)",
                ),
            )
        else:
            missing.update(cell for cell in cells if cell in MISSING)
            table.changed["cells that say nan, None or the like are null"] += not MISSING.isdisjoint(cells)
            table.add(
                where, {n: None if cell in MISSING else cell or None for n, cell in zip(header, cells, strict=True)}
            )
    if missing:
        table.notes.append(
            f"{table.path}: {missing.total()} cells say {' or '.join(sorted(missing))} and are taken as missing"
        )


def _records(table: Table, reader: Any) -> Iterator[tuple[int, list[str] | str]]:
    """(first line, cells or what is wrong) of each record; blank lines are counted."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            at_end = "unexpected end of data" in str(error)
            yield line, "a quote is opened here and never closed" if at_end else str(error)
            continue
        if cells:
            yield line, cells
        else:
            table.blank += 1


def _header(where: str, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name, n in Counter(names).items() if n > 1 and name]
    problems: list[Problem] = []
    if twice:
        problems.append(Problem("bad-header", f"{where}: the header names column {twice[0]!r} twice. Rename one."))
    for place, name in enumerate(names, 1):
        if not name:
            problems.append(
                Problem(
                    "bad-header",
                    f"{where}: column {place} of the header has no name. Name it, or leave it out (pandas: "
                    "index=False).",
                )
            )
    other = next((d for d in (";", "\t", "|", ",") if len(names) == 1 and d in names[0]), None)
    if other:
        wanted = "commas in a .csv file, tabs in a .tsv file"
        problems.append(Problem("bad-header", f"{where}: the columns seem to be separated by {other!r}. Use {wanted}."))
    if problems:
        raise DataError(problems)
    return names


# ---------------------------------------------------------------------------------------------- Parquet, Arrow


def read_parquet(path: str, place: Path) -> Table:
    """Rows of a Parquet file."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"data: {path!r} is Parquet, which needs pyarrow: pip install 'postlude[datasets]'.", code="missing-package"
        ) from error
    table = Table(path)
    try:
        with parquet.ParquetFile(place) as file:
            names: list[str] = file.schema_arrow.names
            twice = [name for name, n in Counter(names).items() if n > 1]
            if twice:
                raise DataError(f"{path}: column {twice[0]!r} stands in it twice. Rename one.", code="bad-header")
            size = 0
            for batch in file.iter_batches(batch_size=_batch_size(file.metadata)):
                size += batch.nbytes
                if size > max(MOST_BYTES, MOST_RATIO * place.stat().st_size):
                    raise DataError(
                        f"{path}: its rows take more than {MOST_RATIO} times the bytes of the file, as no text does. "
                        "Write it anew where that is meant.",
                        code="damaged-file",
                    )
                _add_batch(table, batch)
            _settle_numbers(table)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {first_line(error)}", code="damaged-file") from error
    return table


def _batch_size(metadata: Any) -> int:
    """Rows read at a time: fewer where a row group is large, since any one of its values may be."""
    largest = max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)
    return min(1024, max(16, MOST_BYTES // max(largest, 1)))


def _add_batch(table: Table, batch: Any) -> None:
    """All rows of a batch; where one of them cannot be decoded, row by row."""
    if batch.nbytes > MAX_RECORD:
        for i in range(batch.num_rows):
            _add_large(table, batch.slice(i, 1))
        return
    try:
        values = batch.to_pylist(maps_as_pydicts="lossy")
    except UnicodeDecodeError:
        values = [_one(batch, i) for i in range(batch.num_rows)]
    for value in values:
        table.read += 1
        where = f"{table.path} row {table.read}"
        if isinstance(value, Problem):
            table.reject(where, value)
        else:
            table.add(where, without_nulls(value))


def _add_large(table: Table, row: Any) -> None:
    """A batch of one row, which may be too large to be one."""
    if row.nbytes <= MAX_RECORD:
        _add_batch(table, row)
        return
    table.read += 1
    problem = Problem("too-long", f"{row.nbytes:,} bytes in one record (limit {MAX_RECORD:,})")
    table.reject(f"{table.path} row {table.read}", problem)


def _one(batch: Any, i: int) -> Any:
    try:
        return batch.slice(i, 1).to_pylist(maps_as_pydicts="lossy")[0]
    except UnicodeDecodeError as error:
        return Problem("not-utf8", f"a text is not UTF-8 (byte {error.start})")


def is_data_set(folder: Path) -> bool:
    """Whether `datasets` saved a set, or several splits, in a folder."""
    return any((folder / name).is_file() for name in ("dataset_info.json", "dataset_dict.json", "state.json"))


def read_data_set(path: str, split: str) -> Table:
    """Rows of a folder written by `save_to_disk`, or of a data set of the hub."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"data: {path!r} needs the datasets library: pip install 'postlude[datasets]'.", code="missing-package"
        ) from error
    name = path.removeprefix("hf:")
    try:
        if path.startswith("hf:"):
            rows: Any = datasets.load_dataset(name, split=split)
        else:
            rows = datasets.load_from_disk(name)
            rows = rows[split] if isinstance(rows, datasets.DatasetDict) else rows
    except Exception as error:  # the library raises many kinds; all mean that there are no rows
        raise DataError(
            f"data: cannot load data set {path!r} (split {split}): {first_line(error)}", code="cannot-read"
        ) from error
    table = Table(path)
    for number, value in enumerate(rows.with_format(None), 1):  # a saved format would give arrays
        table.read += 1
        table.add(f"{path} row {number}", without_nulls(dict(value)))
    _settle_numbers(table)
    return table


def _settle_numbers(table: Table) -> None:
    """What is no number becomes null; integers that pandas made floats, since others were missing, are such again."""
    lost = Counter[str]()
    for i, row in enumerate(table.rows):
        values = {name: _finite(value, name, lost) for name, value in row.values.items()}
        table.rows[i] = replace(row, values=values)
    for name in table.columns:
        column = [row.values.get(name) for row in table.rows]
        floats = [x for x in column if isinstance(x, float)]
        others = [x for x in column if x is not None and not isinstance(x, float)]
        if floats and not others and len(floats) < len(column) and all(x.is_integer() for x in floats):
            for i, row in enumerate(table.rows):
                value = row.values.get(name)
                table.rows[i] = replace(row, values={**row.values, name: int(value) if value is not None else None})
    if lost:
        columns = ", ".join(sorted(lost))
        table.notes.append(f"{table.path}: {lost.total()} values of {columns} are not finite and are taken as missing")


def _finite(value: Any, name: str, lost: Counter[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        lost[name] += 1
        return None
    if isinstance(value, dict):
        return {k: _finite(v, name, lost) for k, v in value.items()}
    return [_finite(v, name, lost) for v in value] if isinstance(value, list) else value


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """The row with null keys dropped inside messages and tools.

    Arrow gives every object of a column the keys of all of them: a template would see calls that nobody wrote.
    """
    return {k: _bare(v) if k == "tools" or _are_messages(v) else v for k, v in row.items()}


def _are_messages(value: Any) -> bool:
    """Whether this is a list of messages, or a list of such lists."""
    if not isinstance(value, list) or not value:
        return False
    return all(
        _are_messages(item) if isinstance(item, list) else isinstance(item, dict) and ("role" in item or "from" in item)
        for item in value
    )


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if v is not None}
    return [_bare(v) for v in value] if isinstance(value, list) else value
