"""Which ports the servers of tests wish for: each process of a `pytest -n` has a range of its own.

Between the moment that a port is found free and the moment that a server listens on it, another
process may choose it.
"""

import os

RANGE = 200
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST = 20_000 + RANGE * WORKER
"""Also what SeaweedFS takes, 10,000 above its ports, is below 32,768, from where on Linux gives
ports to clients."""
SEAWEEDFS, MORTAL_SEAWEEDFS, POLICIES, NIGHT_S3, STACK_S3 = range(FIRST, FIRST + 50, 10)
RCLONE, NIGHT_PREFECT, STACK_PREFECT, DEPLOYED_PREFECT, DEPLOYED_HEALTH = range(
    FIRST + 50, FIRST + 100, 10
)
NIGHT_RAY, STACK_RAY, RAY, PREFECT = range(FIRST + 100, FIRST + 140, 10)
NETWORK_S3, NETWORK_SEAWEEDFS = range(FIRST + 140, FIRST + 160, 10)
"""Of servers in a network of their own, where all ports are free, but not all of SeaweedFS's Unix
sockets in /tmp."""
