"""The environment of actors, for benchmarks outside them: its malloc settings are worth a tenth."""

import os
import sys

from workers.actors.cluster import ACTOR_ENVIRONMENT


def enter_actor_environment() -> None:
    """Restarts this command in the environment of actors, unless it already runs in it."""
    if not ACTOR_ENVIRONMENT.items() <= os.environ.items():
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, os.environ | ACTOR_ENVIRONMENT)
