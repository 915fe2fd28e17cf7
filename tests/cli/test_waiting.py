"""What a command shows while it works, and what it says of answers that were cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from postlude.cli import waiting
from postlude.cli.app import app
from postlude.cli.sample import InOrder
from postlude.data import Group, Prompt
from postlude.engines.protocol import Progress
from postlude.models.load import note_of_half
from postlude.models.tiny import save_tiny_model
from tests.underway import HANGS, eventually

runner = CliRunner()


def test_groups_are_shown_in_the_order_of_the_prompts_as_soon_as_they_can_be() -> None:
    shown: list[str] = []
    inbox = InOrder(lambda group: shown.append(group.prompt.id))
    for place, wanted in ((2, []), (0, ["0"]), (1, ["0", "1", "2"]), (3, ["0", "1", "2", "3"])):
        inbox.add(place, Group(Prompt(str(place), ""), ()))
        assert shown == wanted


def test_a_long_wait_says_so_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []
    monkeypatch.setattr(waiting, "FIRST_LINE", 0.01)
    with waiting.Waiting("sampling") as shown:
        shown.hear(Progress(tokens=40, finished=1, total=4))
        assert eventually(lambda: written.append(capsys.readouterr().err) or "40 tokens" in "".join(written))
    written.append(capsys.readouterr().err)
    *_, line = (line for line in "".join(written).splitlines() if "40 tokens" in line)
    assert line.startswith("sampling: 1 of 4 answers, 40 tokens") and "so far" in line
    monkeypatch.setattr(waiting, "FIRST_LINE", HANGS)
    with waiting.Waiting("quick"):
        pass
    assert capsys.readouterr().err == ""


def test_answers_that_are_nearly_all_cut_off_bring_a_note(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "m")
    words = ["sample", str(tmp_path / "m"), "--prompt", "12+", "-n", "40", "--max-tokens", "1"]
    found = runner.invoke(app, words)
    assert found.exit_code == 0
    assert "% of the answers were cut off by the length limit (1 tokens)" in found.stderr and found.stderr.startswith(
        "note: "
    )
    as_json = runner.invoke(app, [*words, "--json"])
    assert as_json.stderr == "" and len(as_json.stdout.splitlines()) == 40
    assert all(json.loads(line)["stop"] in ("length", "eos") for line in as_json.stdout.splitlines())


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="torch before 2.13 does not tell")
@pytest.mark.parametrize(("flags", "said"), [({}, True), ({"avx512_bf16": True}, False), ({"bf16": True}, False)])
def test_bfloat16_without_instructions_for_it_is_said(
    flags: dict[str, bool], said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert ("no instructions for bfloat16" in (note_of_half("bfloat16", "cpu") or "")) is said
    assert note_of_half("float32", "cpu") is None and note_of_half("bfloat16", "cuda") is None
