import threading
from contextvars import copy_context

import pytest
from prefect.exceptions import TerminationSignal

from flows.server.interruption import check_interruption, interrupting_threads


@pytest.mark.parametrize(
    "cause", [TerminationSignal(signal=15), KeyboardInterrupt()], ids=["cancelled", "ctrl-c"]
)
def test_threads_raise_the_main_threads_interruption(cause: BaseException) -> None:
    raised: list[BaseException] = []
    may_look = threading.Event()

    def work() -> None:
        check_interruption()  # not interrupted yet
        started.set()
        may_look.wait()
        try:
            check_interruption()
        except type(cause) as exc:
            raised.append(exc)

    started = threading.Event()

    def begin_and_stop() -> None:
        with interrupting_threads():
            threading.Thread(target=copy_context().run, args=(work,), name="worker").start()
            started.wait()
            raise cause

    with pytest.raises(type(cause)):
        begin_and_stop()
    may_look.set()
    for thread in threading.enumerate():
        if thread.name == "worker":
            thread.join()
    assert [(type(exc), vars(exc)) for exc in raised] == [(type(cause), vars(cause))]
    assert raised[0] is not cause


def test_without_an_exception_nothing_is_interrupted() -> None:
    with interrupting_threads():
        check_interruption()
    check_interruption()
