#!/bin/sh
# A Prefect worker whose runs can use a Ray cluster. Ray accepts a driver only on one of its nodes, so
# this machine joins as a node without resources: actors run elsewhere.
set -eu

worker=$$
{
  # A worker without its node would fail every run. So the worker ends when the node does, or when the
  # head node is lost, and the container is restarted with both.
  ray start --block --address="$NIGHTSHIFT_RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --object-store-memory=536870912 \
    --disable-usage-stats || true
  kill -TERM "$worker"
} &

exec prefect worker start --pool nightshift --type process --install-policy never --with-healthcheck
