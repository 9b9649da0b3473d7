"""Prints the resources of a Ray cluster as JSON: `python -m infra.local.ray_probe ADDRESS`.

A separate process, because a driver without a cluster waits for minutes and a thread cannot
interrupt it.
"""

import json
import logging
import sys

import ray


def main(address: str) -> None:
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    print(json.dumps(ray.cluster_resources()))


if __name__ == "__main__":
    main(sys.argv[1])
