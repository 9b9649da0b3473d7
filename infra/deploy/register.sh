#!/bin/sh
# Creates the work pool and its queues, and registers the deployments of ./prefect.yaml.
# Run it after every upgrade; running it again is safe. PREFECT_API_URL is the server,
# PREFECT_API_AUTH_STRING the login.
set -eu

prefect work-pool create nightshift --type process --overwrite

# The order in which a busy worker takes runs. Between the two is `default`, Prefect's own queue.
make_queue() {
  prefect work-queue create "$1" --pool nightshift --priority "$2" || prefect work-queue inspect "$1" --pool nightshift
}
make_queue nightly 1
make_queue backfill 3

prefect --no-prompt deploy --all
