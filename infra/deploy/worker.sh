#!/bin/sh
# A Prefect worker whose runs can drive a Ray cluster. Ray lets a driver in only on a machine that is one of its nodes:
# this one joins with nothing to give, so that actors run elsewhere.
set -eu

worker=$$
{
  # Ends with the node, also when the head node is gone for good. A worker without its node would fail every run:
  # it ends too, and whatever restarts containers starts both anew.
  ray start --block --address="$NIGHTSHIFT_RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --object-store-memory=536870912 \
    --disable-usage-stats || true
  kill -TERM "$worker"
} &

exec prefect worker start --pool nightshift --type process --install-policy never --with-healthcheck
