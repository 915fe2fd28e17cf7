"""Part `publish`: log-probs of a server against the trainer's, before and after publications by each way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.scale_servers.exactness import WAYS, Row, Trial, publications
from bench.scale_servers.material import Place, server, untied
from bench.scale_servers.processes import gone
from bench.scale_servers.report import Report
from postlude.engines.settings import Publishing

LARGEST = 1e-4
"""Nats between a log-prob of the server and the trainer's of the same token under the same weights."""
RANK = 4
HEADS = ("model", "way", "v", "stale", "handshake", "300 tokens", "mid-answer", "its spans", "s write", "s send")


def publish(place: Place) -> Report:
    """Three publications by each way, of a model whose output layer is its embedding and of one with its own."""
    report, rows = Report("publish", HEADS), list[tuple[str, Row]]()
    for kind, model in _models(place):
        for way, ways, rank in _servers(place):
            rows += [(kind, row) for row in _published(place, model, f"{kind}-{way}", way, ways, rank)]
    report.rows += [_cells(kind, row) for kind, row in rows]
    for kind, way in dict.fromkeys((kind, row.way) for kind, row in rows):
        _judge(report, kind, way, [row for name, row in rows if (name, row.way) == (kind, way)])
    return report


def _models(place: Place) -> Iterator[tuple[str, Path]]:
    real = place.real
    yield ("tied, real" if real else "tied, 0.6M"), real or place.demo() / "sft/model"
    yield "untied", untied(place.folder / "untied")


def _servers(place: Place) -> Iterator[tuple[Publishing, tuple[str, ...], int | None]]:
    """(what a server is started for, the ways it takes weights by, rank): one takes files and streams."""
    if place.is_fake:
        yield "files", ("files",), None
    else:
        yield "stream", ("files", "stream"), None
    yield "lora", ("lora",), RANK


def _published(
    place: Place, model: Path, name: str, way: Publishing, ways: Sequence[str], rank: int | None
) -> list[Row]:
    folder = place.folder / "publish" / name.replace(", ", "-")
    gone(folder)
    trial = Trial.open(str(model), folder, rank)
    first = trial.shelf.place(0)
    with server(place, trial.shelf.to_start_from(), way, rank) as url:
        trial.meet(url)
        return asyncio.run(_by_each(trial, first, ways))


async def _by_each(trial: Trial, first: Path, ways: Sequence[str]) -> list[Row]:
    rows = list[Row]()
    for way in ways:
        publisher = WAYS[way](trial)
        if trial.version == 0:
            await publisher.welcome(trial.member, 0, first)  # type: ignore[arg-type]
        rows += await publications(trial, way, publisher)
    await trial.member.server.close()
    return rows


def _cells(kind: str, row: Row) -> tuple[str, ...]:
    begun_with = {"default": f"v{row.version - 1}"}  # an adapter's answer ends with what it was begun with
    spans = ", ".join(f"{begun_with.get(s.version, f'v{s.version}')} {s.start}-{s.end}" for s in row.spans)
    errors = (f"{error:.1e}" for error in (row.before, row.error, row.long, row.middle))
    seconds = (f"{row.seconds[name]:.2f}" for name in ("place", "publish"))
    return kind, row.way, str(row.version), *errors, spans, *seconds


def _judge(report: Report, kind: str, way: str, rows: Sequence[Row]) -> None:
    worst = max(max(row.error, row.long, row.middle) for row in rows)
    stale = min(row.before for row in rows)
    what = f"{kind}, {way}"
    report.claim(
        f"{what}: log-probs after each publication, in mid-answer too, within {LARGEST}",
        worst <= LARGEST,
        f"{worst:.1e} nats",
    )
    report.claim(
        f"{what}: weights that were not published would be seen", stale > 10 * LARGEST, f"{stale:.1e} nats before"
    )
    without = sum(not row.covered for row in rows)
    report.claim(
        f"{what}: every token of an answer under way has a version",
        not without,
        f"{without} of {len(rows)} answers have not",
    )
    if way != "lora":
        met = sum(len(row.spans) > 1 for row in rows)
        report.claim(f"{what}: publications met answers in their middle", met > 0, f"{met} of {len(rows)}")
