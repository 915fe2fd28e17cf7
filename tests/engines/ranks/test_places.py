"""Hosts of ranks: what has to be the same, and what is said where it is not; who gets which part of an environment."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from postlude.engines.ranks.places import (
    Host,
    Offer,
    environment,
    host_of_this,
    interface_of,
    no_room,
    noted,
    require_alike,
    threads_of,
    versions,
)
from postlude.errors import EngineError


def host(name: str = "a", cores: int = 8, nonce: str = "n") -> Host:
    return Host(name, "10.0.0.1", 1, cores, versions(), nonce)


def test_a_host_that_sees_the_folder_reads_what_is_written_there(tmp_path: Path) -> None:
    with noted(tmp_path / "run") as (note, nonce):
        here = host_of_this("127.0.0.1", note)
        assert here.nonce == nonce
        require_alike([here, here], nonce, tmp_path / "run")
    assert note is not None and not note.exists()


def test_one_that_does_not_is_named_once(tmp_path: Path) -> None:
    with noted(tmp_path) as (_, nonce), pytest.raises(EngineError) as caught:
        elsewhere = replace(host_of_this("127.0.0.1", tmp_path / "elsewhere"), name="b")
        require_alike([host(nonce=nonce), elsewhere, elsewhere], nonce, tmp_path)
    assert [problem.code for problem in caught.value.problems] == ["hosts-differ"]
    assert f"host b cannot see {tmp_path}" in str(caught.value) and "set output" in str(caught.value)


def test_other_versions_are_told_with_ours() -> None:
    other = replace(host("b"), versions=versions() | {"torch": "2.1", "ray": "2.61.0"})
    with pytest.raises(EngineError) as caught:
        require_alike([host(), other], "n", None)
    assert f"host b has torch 2.1 (here {versions()['torch']}), ray 2.61.0 (here {versions()['ray']})" in str(
        caught.value
    )


def test_what_was_changed_under_a_run_is_not_told_of_another_host() -> None:
    other = replace(host(socket.gethostname()), versions=versions() | {"torch": "2.1"})
    with pytest.raises(EngineError) as caught:
        require_alike([other], "n", None)
    assert str(caught.value).startswith(f"torch 2.1 (here {versions()['torch']}) was changed here while the run")


def test_what_postlude_is_its_files_say() -> None:
    assert "(" in versions()["postlude"]


def test_cores_are_shared_by_the_ranks_of_a_host() -> None:
    assert threads_of([host(), host(), host("b", 6)]) == [4, 4, 6]
    assert threads_of([host(cores=2)] * 5) == [1] * 5


def test_a_rank_inherits_no_key_of_a_judge() -> None:
    outer = {
        "OPENAI_API_KEY": "sk-1",
        "JUDGE": "sk-2",
        "AWS_SECRET_ACCESS_KEY": "3",
        "WANDB_API_KEY": "4",
        "RAY_ADDRESS": "5",
    }
    needed = {"PATH": "/bin", "HF_HOME": "/models", "NCCL_DEBUG": "INFO", "CUDA_VISIBLE_DEVICES": "1", "LC_ALL": "C"}
    assert environment(outer | needed) == needed
    assert environment(needed, threads=3) == needed | {"OMP_NUM_THREADS": "3"}


def test_too_little_room_names_what_is_asked_and_every_host() -> None:
    error = no_room(8, True, [Offer("a", 16, 4), Offer("b", 16, 2)], (32, 5), 60.2)
    assert error.code == "no-room"
    assert str(error).startswith(
        "engine.trainers wants 8 GPUs; Ray offers 6, of which 5 are free (host a: 4, host b: 2)."
    )
    alone = no_room(4, False, [Offer("a", 2, 0)], (2, 0), 60)
    assert str(alone).startswith("engine.trainers wants 4 CPUs; Ray offers 2 (host a: 2).")


def test_the_interface_of_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.77") is None
