"""Profiler traces of some training steps: operators, kernels, shapes and times.

The files have Chrome's trace format, for Perfetto (ui.perfetto.dev) or chrome://tracing.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TRACE_SUFFIX = ".pt.trace.json.gz"
"""TensorBoard's profiler plugin recognises traces by it."""


@contextmanager
def tracing(path: Path, *, skip: int, record: int) -> Iterator[Callable[[], None]]:
    """Traces `record` steps after the first `skip`; call the yielded function after each step.

    `path` should end in TRACE_SUFFIX. It is written when the last of these steps is done or the
    block ends, unless no step was traced. `record` of 0 costs nothing. A process can record only
    one trace at a time.
    """
    if not record:
        yield _do_nothing
        return
    from torch.profiler import profile, schedule, supported_activities  # noqa: PLC0415  # flows know the suffix only

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Profiler won't be using warmup")
        plan = schedule(
            skip_first=max(0, skip - 1), wait=0, warmup=min(1, skip), active=record, repeat=1
        )
    with profile(
        activities=supported_activities(),
        schedule=plan,
        on_trace_ready=lambda recorded: recorded.export_chrome_trace(str(path)),
        record_shapes=True,
    ) as recorder:
        yield recorder.step


def _do_nothing() -> None:
    pass
