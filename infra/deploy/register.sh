#!/bin/sh
# Makes the work pool and its queues and registers the deployments of prefect.yaml, which lies in the working directory.
# Safe to run again, and to be run after every upgrade. PREFECT_API_URL says where, PREFECT_API_AUTH_STRING as whom.
set -eu

prefect work-pool create nightshift --type process --overwrite

# Who comes first when a worker has not room for all; `default`, which lies between the two, is Prefect's own.
make_queue() {
  prefect work-queue create "$1" --pool nightshift --priority "$2" || prefect work-queue inspect "$1" --pool nightshift
}
make_queue nightly 1
make_queue backfill 3

prefect --no-prompt deploy --all
