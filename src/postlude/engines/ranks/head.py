"""A Ray cluster of this machine for one run: `head.py SETTINGS`, run as a script below a keeper.

It is reached from this machine alone, and only with the run's token. Writes `address HOST:PORT` once it is up, and ends
as soon as one of Ray's own processes that it needs does: its keeper then ends the rest.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys

import ray

NEEDED = ("raylet", "gcs_server")


def main(settings: str) -> int:
    asked = json.loads(settings)
    ray.init(
        address="local",
        num_cpus=asked["cpus"],
        num_gpus=asked["gpus"],
        object_store_memory=asked["memory"],
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=asked["folder"],
    )
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray's own handler waits for a main thread that waits here
    print(f"address {ray.get_runtime_context().gcs_address}", flush=True)
    return _wait()


def _wait() -> int:
    """Until one that is needed has ended, or all that there were."""
    while True:
        try:
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return 1
        assert child is not None  # it waits
        with open(f"/proc/{child.si_pid}/comm") as file:
            name = file.read().strip()
        if name in NEEDED:
            print(f"{name} ended ({child.si_status})", flush=True)
            return 1
        os.waitpid(child.si_pid, 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
