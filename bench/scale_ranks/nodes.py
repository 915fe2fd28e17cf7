"""Ray's own test cluster of three nodes of a CPU each on this machine, until it is killed: a script below a keeper."""

from __future__ import annotations

import time

from ray.cluster_utils import Cluster

NODES = 3
QUICK = {"health_check_initial_delay_ms": 3000, "health_check_period_ms": 1000, "health_check_timeout_ms": 5000}


def main() -> None:
    settings = {"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False}
    cluster = Cluster(True, head_node_args={**settings, "_system_config": QUICK})
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=1, object_store_memory=2**27)
    cluster.wait_for_nodes()
    print(f"address {cluster.address}", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
