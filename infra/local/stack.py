"""The local stack: an S3 server, a Prefect server, a Ray head node and a Prefect worker.

Each folder holds one stack, and several can run at the same time. Calling `up` or `down` twice,
even concurrently, is safe.
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
"""In the order in which they start."""
_MAIN_PORT = {seaweedfs.NAME: "s3", prefect_server.NAME: "prefect", ray_head.NAME: "ray"}
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    name: str
    pid: int | None
    """None if it does not run."""
    port: int | None
    answers: bool
    """Whether its port accepts connections; without a port, whether it runs."""
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
        """The address of the Prefect UI; None while its server does not run."""
        (server,) = (each for each in self.processes if each.name == prefect_server.NAME)
        return None if server.port is None else f"http://127.0.0.1:{server.port}"


def up(settings: Settings, *, on_event: Callable[[str], None] = lambda text: None) -> StackStatus:
    """Starts what is not running and writes the `env` file; raises ServiceError if a start fails.

    After a failure the other processes keep running. The next `up` starts only the rest; `down`
    stops all.
    """
    folder = _make_folder(settings)
    with _lock(folder, on_event):
        found = status(settings)
        if found.is_running and found.env_file.exists():
            on_event("everything is running already")
            env = children_environment(settings, recorded_variables(folder))
            _warn_of_changes(env, folder, on_event)
            return found
        running = {process.name for process in found.processes if process.answers}
        if not found.env_file.exists():
            running = set()  # their S3 keys are lost
        for name in NAMES:
            if name not in running:
                _clean(name, folder, on_event)
        ports = _choose_ports(settings, folder, running, on_event)
        keys = load_or_make_keys(folder)
        variables = stack_variables(folder, ports=ports, keys=keys)
        if recorded_variables(folder) != variables:
            # Its flow runs would inherit stale addresses.
            _stop(prefect_worker.NAME, folder, on_event)
        write_env_file(folder, variables)
        env = children_environment(settings, variables)
        _start_all(folder, ports, variables, env, on_event)
        return status(settings)


def down(settings: Settings, *, on_event: Callable[[str], None] = lambda text: None) -> None:
    """Stops all processes of this stack, the worker first, and waits for their end; keeps data."""
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
    """What runs; changes nothing."""
    folder = settings.stack_dir.resolve()
    book = PortBook(folder / "ports.json")
    return StackStatus(
        processes=tuple(_process_status(name, folder, book) for name in NAMES),
        env_file=env_path(folder),
    )


def _process_status(name: str, folder: Path, book: PortBook) -> ProcessStatus:
    process = supervised.find(name, folder)
    log = supervised.log_path(folder, name)
    if process is None:
        return ProcessStatus(name=name, pid=None, port=None, answers=False, log=log)
    if name not in _MAIN_PORT:
        return ProcessStatus(name=name, pid=process.pid, port=None, answers=True, log=log)
    port = book.recorded(_MAIN_PORT[name])
    answers = port is not None and is_open(port)
    return ProcessStatus(name=name, pid=process.pid, port=port, answers=answers, log=log)


def _start_all(
    folder: Path,
    ports: dict[str, int],
    variables: dict[str, str],
    env: dict[str, str],
    on_event: Callable[[str], None],
) -> None:
    """Starts the three servers in parallel, and the worker after the Prefect server."""

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
    ports: dict[str, int] = {}
    for process, wished_ports in wishes.items():
        if process in running:
            ports |= {name: book.keep(name) for name in wished_ports}
    for process, wished_ports in wishes.items():
        if process in running:
            continue
        for name, wished in wished_ports.items():
            ports[name] = book.choose(name, wished=wished, needs_grpc=process == seaweedfs.NAME)
            if ports[name] != wished and name == _MAIN_PORT[process]:
                on_event(f"port {wished} is taken: {process} listens on {ports[name]}")
    return ports


def _clean(name: str, folder: Path, on_event: Callable[[str], None]) -> None:
    """Stops a process that does not answer, or what a crashed one has left."""
    if supervised.find(name, folder) is not None:
        on_event(f"{name} runs but does not answer: stopping it")
    elif supervised.has_leftovers(name, folder):
        on_event(f"{name} crashed: cleaning up")
    else:
        return
    supervised.stop(name, folder, timeout_s=_STOP_TIMEOUT_S)


def _warn_of_changes(env: Mapping[str, str], folder: Path, on_event: Callable[[str], None]) -> None:
    """Lists settings that changed since the worker's start: its flow runs inherit the old ones."""
    worker = supervised.find(prefect_worker.NAME, folder)
    if worker is None:
        return
    old = worker.environ()
    changed = [
        name
        for name in sorted({*old, *env})
        if name.startswith("NIGHTSHIFT_")
        and name != supervised.MARK
        and old.get(name) != env.get(name)
    ]
    if changed:
        on_event(
            f"{', '.join(changed)}: changed since the worker's start, and its runs use the old "
            "values. Call `nightshift down`, then `nightshift up`, when nothing runs"
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
        raise ServiceError(f"cannot create the folder of the local stack: {exc}") from exc
    return folder


@contextlib.contextmanager
def _lock(folder: Path, on_event: Callable[[str], None]) -> Iterator[None]:
    """One `up` or `down` at a time in a folder; the lock ends with the process that holds it."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_event("waiting for another `up` or `down` of this stack")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
