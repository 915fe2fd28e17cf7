"""What trainer and servers may take of one GPU: right values of the arithmetic, which no GPU is needed for."""

from __future__ import annotations

import pytest

from postlude.engines.local.free import Free
from postlude.engines.servers.shares import Device, depth, utilization
from postlude.errors import EngineError

GIB = 2**30
HELD = {"weights": 16 * GIB, "optimizer": 12 * GIB, "gradients": 4 * GIB}


@pytest.mark.parametrize(
    ("room", "count", "adapters", "level"),
    [(18, 1, False, 1), (17.9, 1, False, 2), (35.3, 2, False, 1), (35.1, 2, False, 2), (1, 1, True, 1)],
)
def test_servers_keep_their_weights_where_host_memory_has_room_for_all_and_a_margin(
    room: float, count: int, adapters: bool, level: int
) -> None:
    """16 GiB each: 2 GiB beside one of them, a tenth beside two. An adapter's base would not come back."""
    chosen, line = depth(16 * GIB, count, Free(int(room * GIB), "the machine's memory"), adapters)
    assert chosen == level
    assert f"level {level}" in line and f"{16 * count}.0 GiB" in line
    assert ("may be too small" in line) == adapters


def test_a_server_takes_what_the_trainer_will_leave_and_never_more() -> None:
    """80 GiB, of which the weights are there: 16 GiB of optimiser and gradients are to come, 1 GiB is a context."""
    assert utilization(Device(80 * GIB, 63 * GIB), HELD, 16 * GIB, 16 * GIB, 1) == 0.57  # 46 / 80 = 0.575
    assert utilization(Device(80 * GIB, 47 * GIB), HELD, 32 * GIB, 16 * GIB, 1) == 0.57  # the same, once it has stepped
    assert utilization(Device(80 * GIB, 63 * GIB), HELD, 16 * GIB, 8 * GIB, 2) == 0.28


def test_a_server_that_would_have_no_room_is_refused_with_all_figures() -> None:
    assert utilization(Device(80 * GIB, 38 * GIB), HELD, 16 * GIB, 16 * GIB, 1) == 0.26  # 20.8 GiB; 20.2 are needed
    with pytest.raises(EngineError) as seen:
        utilization(Device(80 * GIB, 37 * GIB), HELD, 16 * GIB, 16 * GIB, 1)
    text = str(seen.value)
    assert "of this GPU's 80.0 GiB the trainer holds 32.0 GiB (weights 16.0 GiB, optimizer 12.0 GiB" in text
    assert "leaves 20.0 GiB for 1 server" in text and "model.lora.rank=16" in text
