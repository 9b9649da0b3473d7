"""The environment of actors, for what is measured beside them: malloc behaves otherwise, which is
worth a tenth."""

import os
import sys

from workers.actors.cluster import ACTOR_ENVIRONMENT


def enter_actor_environment() -> None:
    """Begins this command anew in that environment, unless it is there already."""
    if not ACTOR_ENVIRONMENT.items() <= os.environ.items():
        os.execve(
            sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ACTOR_ENVIRONMENT
        )
