"""The frame of rules: windows, tracks, what a rule cannot see, the order of findings."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from postlude.doctor.rule import Rule, seen
from postlude.doctor.rules import RULES, examine
from postlude.doctor.track import Column, Track, rows_of, seconds_of, track_of
from postlude.doctor.watching import diagnose
from postlude.doctor.windows import Change, Window, slope, smoothed
from postlude.runs import read


def window(*values: float) -> Window:
    return Window("x", tuple(range(1, len(values) + 1)), values)


def column(*values: float) -> Column:
    filled = Column("x")
    for step, value in enumerate(values, 1):
        filled.add(step, value)
    return filled


def test_a_change_is_measured_against_its_noise() -> None:
    change = column(0, 2, 0, 2, 4, 6, 4, 6).change(4, 4)
    assert change is not None
    assert change.difference == pytest.approx(4)
    assert change.factor == pytest.approx(5)
    assert change.noise == pytest.approx((2 * (4 / 3) / 4) ** 0.5)
    assert change.rises and not change.falls
    assert column(0, 2, 0, 2, 4, 6, 4).change(4, 4) is None
    assert column(9, 0, 2, 0, 2, 4, 6, 4, 6).change(4, 4, after=1) == Change(
        Window("x", (2, 3, 4, 5), (0, 2, 0, 2)), Window("x", (6, 7, 8, 9), (4, 6, 4, 6))
    )


def test_no_noise_and_no_difference_is_no_change() -> None:
    change = column(0, 0, 0, 0).change(2, 2)
    assert change is not None and (change.errors, change.factor) == (0, 1)


def test_a_slope_is_robust_and_knows_its_interval() -> None:
    line = slope(window(0, 1, 2, 100, 4, 5, 6, 7, 8, 9))
    assert line is not None and line.per_step == pytest.approx(1) and line.low > 0
    rng = random.Random(0)
    covered = 0
    for _ in range(200):
        noise = slope(window(*(rng.gauss(0, 1) for _ in range(20))))
        assert noise is not None
        covered += noise.low <= 0 <= noise.high
    assert 180 <= covered <= 198  # of 200, 95 % meant
    assert slope(window(1, 2, 3)) is None


def test_an_average_begins_with_the_first_value() -> None:
    assert smoothed([5.0], 10) == 5.0
    assert smoothed([0.0, 1.0], 3) == pytest.approx(0.5)


def test_a_rule_says_why_it_cannot_tell() -> None:
    rule = Rule("r", "", ("a|b", "c/*"), "", "", "", "", lambda track: None, points=2, unseen="give it")
    track = Track()
    assert rule.blind(track) == "there is no a or b: give it"
    track.add(1, {"b": 1.0})
    assert rule.blind(track) == "there is no c/*: give it"
    track.add(1, {"c/x": 1.0})
    assert rule.blind(track) == "it needs 2 values of a or b, and there are 1"
    track.add(2, {"b": 1.0})
    assert rule.blind(track) is None


def test_settings_are_multiplied_in_their_kind() -> None:
    track = Track(recipe={"schedule": {"lr": 1e-5}, "updates": 3, "sampling": {"max_tokens": 64}})
    assert track.times("schedule.lr", 0.3) == "schedule.lr=3e-06"
    assert track.times("sampling.max_tokens", 2) == "sampling.max_tokens=128"
    assert track.times("updates", 0.1, least=1) == "updates=1"
    assert track.times("stop_kl", 0.1) is None
    assert track.times("stop_kl", 0.1, usual=0.05) == "stop_kl=0.05"
    assert track.setting("schedule.lr.x") is None


def test_the_worst_comes_first() -> None:
    track = Track()
    for step in (1, 2, 3):
        track.add(step, {"samples": 8, "grad_norm": 0.1, "truncated_frac": 1.0, "mismatch/ess": 0.1})
    assert [(f.rule, f.gravity) for f in examine(track)] == [("effective-samples", "grave"), ("cut-off", "warning")]
    assert examine(track, [RULES["cut-off"]])[0].steps == (1, 2, 3)


def test_rules_are_of_their_kind_of_run() -> None:
    track = Track()
    track.add(1, {"truncated_frac": 1.0})
    assert track.kind == "written" and examine(track) == []


def test_a_folder_gives_its_rows_in_order(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(
        '{"schema": 1, "kind": "start", "step": 0, "method": "grpo", "steps": 4, "sizes": "", "counts": {}, '
        '"data": [], "engine": {}}\n'
        '{"schema": 1, "kind": "eval", "step": 0, "sampled/accuracy": 0.5}\n'
        '{"schema": 1, "kind": "step", "step": 1, "reward/mean": 1}\n'
        '{"schema": 1, "kind": "eval", "step": 1, "sampled/accuracy": 0.75}\n'
    )
    history = read(tmp_path)
    track = track_of(history)
    assert (track.method, track.steps) == ("grpo", 4)
    assert list(rows_of(history)) == [
        (0, {"sampled/accuracy": 0.5}),
        (1, {"reward/mean": 1.0, "sampled/accuracy": 0.75}),
    ]


def test_every_rule_is_whole() -> None:
    for name, rule in RULES.items():
        assert name == rule.name and " " not in name
        assert {*rule.follows} <= {*RULES} - {name}
        assert all((rule.symptom, rule.reads, rule.threshold, rule.cause, rule.remedy, rule.source, rule.kinds)), name
        assert rule.cause.endswith(".") and rule.remedy.endswith("."), name


def test_evidence_is_kept_with_its_steps() -> None:
    finding = seen(window(1, 2), 2, 1, "it is", None, "a=1")
    assert (finding.steps, finding.values, finding.figure, finding.remedy) == ((1, 2), (1, 2), "x", ("a=1",))


def test_the_doctor_reads_the_seconds_of_a_run_with_servers_and_no_alarm_does(tmp_path: Path) -> None:
    start = {"kind": "start", "step": 0, "method": "grpo", "steps": 12}
    steps = [{"kind": "step", "step": step, "samples": 8.0} for step in range(1, 13)]
    took = {"draw": 8.0, "train": 1.0, "wait": 8.0, "commit": 0.1, "publish": 0.2, "total": 9.3}
    lines = {"events": [{"schema": 1, **row} for row in (start, *steps)]}
    lines["timings"] = [{"step": step, **took} for step in range(1, 13)]
    for name, rows in lines.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    servers = "engine: {servers: {count: 2, python: p}}"
    (tmp_path / "config.yaml").write_text(f"method: grpo\nsteps: 12\n{servers}\n")
    history = read(tmp_path)
    assert seconds_of(history)[3]["seconds/wait"] == 8.0 and "seconds/total" not in seconds_of(history)[3]
    (seen,) = [one for one in diagnose(history).seen if one.first.rule == "trainer-waits"]
    assert seen.first.steps == tuple(range(1, 11)) and seen.first.remedy == ("engine.servers.count=4",)
    assert all("seconds/wait" not in figures for _, figures in rows_of(history)), "which a run that goes on reads"
    (tmp_path / "config.yaml").write_text("method: grpo\nsteps: 12\n")
    assert "trainer-waits" not in {one.first.rule for one in diagnose(read(tmp_path)).seen}
