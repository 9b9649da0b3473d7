"""The ports that test servers prefer: each process of `pytest -n` has its own range.

Otherwise another process could choose a port after it was found free and before a server listens on
it.
"""

import os

RANGE = 200
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST = 20_000 + RANGE * WORKER
"""SeaweedFS also uses ports 10,000 above its own. All are below 32,768, where the ports begin that
Linux gives to clients."""
SEAWEEDFS, MORTAL_SEAWEEDFS, POLICIES, NIGHT_S3, STACK_S3 = range(FIRST, FIRST + 50, 10)
RCLONE, NIGHT_PREFECT, STACK_PREFECT, DEPLOYED_PREFECT, DEPLOYED_HEALTH = range(
    FIRST + 50, FIRST + 100, 10
)
NIGHT_RAY, STACK_RAY, RAY, PREFECT = range(FIRST + 100, FIRST + 140, 10)
NETWORK_S3, NETWORK_SEAWEEDFS = range(FIRST + 140, FIRST + 160, 10)
"""For servers in a separate network: all ports are free there, but SeaweedFS's Unix sockets share
/tmp."""
