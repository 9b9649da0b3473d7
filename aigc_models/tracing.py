"""Traces of where the time of some steps goes, as torch's profiler records them: operators,
kernels, their shapes.

The files are of Chrome's format: Perfetto (ui.perfetto.dev) opens them, and so does
chrome://tracing.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TRACE_SUFFIX = ".pt.trace.json.gz"
"""By which TensorBoard's profiler plugin knows them."""


@contextmanager
def tracing(path: Path, *, skip: int, record: int) -> Iterator[Callable[[], None]]:
    """Gives what is to be called after each step. `record` steps after the first `skip` are traced,
    or as many of them as there were; `path`, which should end in TRACE_SUFFIX, is written then, and
    never if there were none.

    `record` of 0 costs nothing. Only one trace can be recorded in a process at a time.
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
