"""The local stack as a whole: an S3 server, a Prefect server, a Ray head node and a Prefect worker
in one folder.

Each folder holds one stack, and several may run side by side. Safe to call twice, also at the same
time.
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ServiceError
from infra.local import prefect_server, prefect_worker, ray_head, seaweedfs, supervised
from infra.local.environment import (
    children_environment,
    env_path,
    load_or_make_keys,
    recorded_variables,
    stack_variables,
    write_env_file,
)
from infra.local.ports import PortBook, is_open
from infra.local.supervised import ProcessSpec
from infra.settings import Settings

NAMES = (seaweedfs.NAME, prefect_server.NAME, ray_head.NAME, prefect_worker.NAME)
"""In the order of starting."""
_MAIN_PORT = {seaweedfs.NAME: "s3", prefect_server.NAME: "prefect", ray_head.NAME: "ray"}
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    name: str
    pid: int | None
    """None: not running."""
    port: int | None
    answers: bool
    """Whether its port accepts connections; for a process without a port, whether it runs."""
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    processes: tuple[ProcessStatus, ...]
    env_file: Path

    @property
    def is_running(self) -> bool:
        return all(process.pid is not None and process.answers for process in self.processes)

    @property
    def ui_url(self) -> str | None:
        """The Prefect UI."""
        port = next(
            process.port for process in self.processes if process.name == prefect_server.NAME
        )
        return None if port is None else f"http://127.0.0.1:{port}"


def up(settings: Settings, *, on_event: Callable[[str], None] = lambda text: None) -> StackStatus:
    """Starts whatever is not running and writes the `env` file; raises ServiceError if a process
    does not come up.

    Processes that did come up stay up then: the next `up` starts only the rest, `down` stops all.
    """
    folder = _make_folder(settings)
    with _lock(folder, on_event):
        found = status(settings)
        if found.is_running and found.env_file.exists():
            on_event("everything is running already")
            _tell_changes(
                children_environment(settings, recorded_variables(folder)), folder, on_event
            )
            return found
        # Without the `env` file nobody knows the keys of what runs.
        running = {
            process.name
            for process in found.processes
            if process.answers and found.env_file.exists()
        }
        for name in NAMES:
            if name not in running:
                _clean(name, folder, on_event)
        ports = _choose_ports(settings, folder, running, on_event)
        keys = load_or_make_keys(folder)
        variables = stack_variables(folder, ports=ports, keys=keys)
        if recorded_variables(folder) != variables:
            # its flow runs would inherit addresses that hold no longer
            _stop(prefect_worker.NAME, folder, on_event)
        write_env_file(folder, variables)
        env = children_environment(settings, variables)
        _start_all(folder, ports, variables, env, on_event)
        return status(settings)


def down(settings: Settings, *, on_event: Callable[[str], None] = lambda text: None) -> None:
    """Stops everything of this stack, the worker first, and returns when the processes are gone;
    data stays."""
    folder = settings.stack_dir.resolve()
    if not folder.is_dir():
        on_event("nothing is running")
        return
    with _lock(folder, on_event):
        stopped = _stop(prefect_worker.NAME, folder, on_event)
        with ThreadPoolExecutor(len(NAMES)) as pool:
            others = [name for name in NAMES if name != prefect_worker.NAME]
            stopped |= any(list(pool.map(lambda name: _stop(name, folder, on_event), others)))
        if not stopped:
            on_event("nothing is running")


def status(settings: Settings) -> StackStatus:
    """What runs, found without changing anything."""
    folder = settings.stack_dir.resolve()
    book = PortBook(folder / "ports.json")
    return StackStatus(
        processes=tuple(_process_status(name, folder, book) for name in NAMES),
        env_file=env_path(folder),
    )


def _process_status(name: str, folder: Path, book: PortBook) -> ProcessStatus:
    process = supervised.find(name, folder)
    port = book.recorded(_MAIN_PORT[name]) if name in _MAIN_PORT and process is not None else None
    return ProcessStatus(
        name=name,
        pid=None if process is None else process.pid,
        port=port,
        answers=process is not None
        and (name not in _MAIN_PORT or (port is not None and is_open(port))),
        log=supervised.log_path(folder, name),
    )


def _start_all(
    folder: Path,
    ports: dict[str, int],
    variables: dict[str, str],
    env: dict[str, str],
    on_event: Callable[[str], None],
) -> None:
    """Starts the three servers side by side and the worker after the Prefect server."""

    def start(spec: ProcessSpec) -> None:
        if supervised.find(spec.name, folder) is None:
            supervised.start(spec, folder)
            on_event(f"{spec.name} is ready")

    def start_s3() -> None:
        start(
            seaweedfs.seaweedfs_spec(
                data_dir=folder / "s3",
                ports=ports,
                access_key=variables["AWS_ACCESS_KEY_ID"],
                secret_key=variables["AWS_SECRET_ACCESS_KEY"],
                env=env,
            )
        )

    def start_prefect() -> None:
        start(prefect_server.prefect_server_spec(port=ports["prefect"], env=env))
        start(prefect_worker.prefect_worker_spec(api_url=variables["PREFECT_API_URL"], env=env))

    def start_ray() -> None:
        if supervised.find(ray_head.NAME, folder) is None:
            start(ray_head.ray_spec(stack_dir=folder, ports=ports, env=env))

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(task) for task in (start_s3, start_prefect, start_ray)]
    errors = [str(error) for future in futures if (error := future.exception()) is not None]
    if errors:
        raise ServiceError("\n".join(errors))


def _choose_ports(
    settings: Settings, folder: Path, running: set[str], on_event: Callable[[str], None]
) -> dict[str, int]:
    book = PortBook(folder / "ports.json")
    wishes = {
        seaweedfs.NAME: {
            name: settings.stack_s3_port + i for i, name in enumerate(seaweedfs.PORTS)
        },
        prefect_server.NAME: {"prefect": settings.stack_prefect_port},
        ray_head.NAME: {name: settings.stack_ray_port + i for i, name in enumerate(ray_head.PORTS)},
    }
    ports = {
        name: book.keep(name)
        for process in wishes
        if process in running
        for name in wishes[process]
    }
    for process, wished_ports in wishes.items():
        for name, wished in wished_ports.items():
            if name not in ports:
                ports[name] = book.choose(name, wished=wished, needs_grpc=process == seaweedfs.NAME)
                if ports[name] != wished and name == _MAIN_PORT[process]:
                    on_event(f"port {wished} is taken: {process} listens on {ports[name]}")
    return ports


def _clean(name: str, folder: Path, on_event: Callable[[str], None]) -> None:
    """Removes what stands in the way of a fresh start: a process that does not answer, or what a
    dead one left."""
    is_mute = supervised.find(name, folder) is not None
    if is_mute or supervised.has_leftovers(name, folder):
        on_event(
            f"{name} runs but cannot be used and is stopped"
            if is_mute
            else f"cleaning up what a crashed {name} left"
        )
        supervised.stop(name, folder, timeout_s=_STOP_TIMEOUT_S)


def _tell_changes(env: Mapping[str, str], folder: Path, on_event: Callable[[str], None]) -> None:
    """Says which settings the worker's flow runs, which inherit those of its start, do not know as
    they are now."""
    worker = supervised.find(prefect_worker.NAME, folder)
    known = worker.environ() if worker else env
    names = {
        name
        for name in {*known, *env}
        if name.startswith("NIGHTSHIFT_") and name != supervised.MARK
    }
    if changed := sorted(name for name in names if known.get(name) != env.get(name)):
        on_event(
            f"{', '.join(changed)}: not what the worker was started with, and its runs still have that: "
            "`nightshift down`, then `nightshift up`, once nothing runs"
        )


def _stop(name: str, folder: Path, on_event: Callable[[str], None]) -> bool:
    was_running = supervised.stop(name, folder, timeout_s=_STOP_TIMEOUT_S)
    if was_running:
        on_event(f"{name} has stopped")
    return was_running


def _make_folder(settings: Settings) -> Path:
    folder = settings.stack_dir.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise ServiceError(f"the folder of the local stack cannot be made: {exc}") from exc
    return folder


@contextlib.contextmanager
def _lock(folder: Path, on_event: Callable[[str], None]) -> Iterator[None]:
    """One `up` or `down` at a time in a folder; the system drops the lock when its holder dies."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_event("waiting for another `up` or `down` of this stack")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
