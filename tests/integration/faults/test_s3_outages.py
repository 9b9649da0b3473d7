"""An S3 server that dies, comes back or stays away, and answers that get lost."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from infra.errors import PreconditionFailed, StorageError
from infra.storage import Storage, open_storage, s3_outages
from infra.storage.parquet import encode, read_rows
from tests.integration.conftest import MortalServer, S3Server
from tests.support.night import wait_until
from tests.unit.workers.partitions import test_publish as partition
from workers.partitions.parts import list_parts, part_key, read_receipt

NUM_WORKERS = 12
ROUNDS = 20
SCHEMA = pa.schema([pa.field("n", pa.int64())])


def work(storage: Storage, worker: int, done: list[int]) -> None:
    """Puts, gets, lists and reads its own objects.

    A refused write can only be a retry of its own write, whose answer was lost.
    """
    for turn in range(ROUNDS):
        key = f"{worker}/{turn:03d}.parquet"
        data = encode(pa.table({"n": [worker, turn]}), SCHEMA, {})
        with suppress(PreconditionFailed):
            storage.put(key, data, if_absent=True)
        assert storage.get(key) == data
        assert [item.key for item in storage.list(f"{worker}/")][-1] == key
        assert read_rows(storage, key)["n"].to_pylist() == [worker, turn]
        done.append(turn)


@pytest.mark.timeout(180)
def test_work_survives_restarts_of_the_server(
    mortal_server: MortalServer,
) -> None:
    storage = open_storage(mortal_server.s3.settings("work"))
    done: list[int] = []
    with ThreadPoolExecutor(NUM_WORKERS) as threads:
        workers = [threads.submit(work, storage, number, done) for number in range(NUM_WORKERS)]
        for share in (0.2, 0.6):
            wait_until(
                lambda share=share: len(done) >= share * NUM_WORKERS * ROUNDS, "some of the work"
            )
            mortal_server.kill()
            mortal_server.start()
    for worker in workers:
        worker.result()
    assert len(list(storage.list(""))) == NUM_WORKERS * ROUNDS


@pytest.mark.parametrize(
    "act",
    [
        lambda storage: storage.put("key", b"data"),
        lambda storage: storage.get("key"),
        lambda storage: list(storage.list("")),
        lambda storage: storage.copy("key", "copy"),
        lambda storage: storage.delete(["key"]),
        lambda storage: read_rows(storage, "key"),
    ],
    ids=["put", "get", "list", "copy", "delete", "read-rows"],
)
def test_the_error_of_a_server_that_stays_away_names_its_address(
    mortal_server: MortalServer, act: Callable[[Storage], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_outages, "MAX_OUTAGE_S", 2.0)
    storage = open_storage(mortal_server.s3.settings("away"))
    storage.put("key", b"data")
    mortal_server.kill()
    started = time.monotonic()
    with pytest.raises(StorageError, match=re.escape(urlsplit(mortal_server.s3.endpoint).netloc)):
        act(storage)
    assert time.monotonic() - started < 20


TEXT = (
    b"<?xml version='1.0'?>"
    b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
) * 40
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%b" % (len(TEXT), TEXT)


@dataclass
class LossyWire:
    """A TCP proxy in front of an S3 server: it can lose, cut off or replace one answer."""

    target: tuple[str, int]
    loses: bytes = b""
    """Loses the answer to the first PUT whose path ends with this, and cuts the connection."""
    breaks_after: int = 0
    """Cuts off the first answer that is longer than this many bytes."""
    refuses: bytes = b""
    """Answers the first GET whose path ends with this with a 503 and a text longer than the
    object."""
    lost: list[bytes] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def serve(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            asked = bytearray()
            threading.Thread(
                target=self._pass_requests, args=(client, server, asked), daemon=True
            ).start()
            with suppress(OSError):
                num_bytes = 0
                while answer := server.recv(2**16):
                    num_bytes += len(answer)
                    if self._is_doomed(bytes(asked), answer, num_bytes):
                        client.shutdown(socket.SHUT_RDWR)
                        return
                    client.sendall(answer)

    def _pass_requests(
        self, client: socket.socket, server: socket.socket, asked: bytearray
    ) -> None:
        with suppress(OSError):
            while request := client.recv(2**16):
                asked += request
                if self.refuses and re.match(rb"GET \S*" + self.refuses, request):
                    self.lost.append(self.refuses)
                    self.refuses = b""
                    client.sendall(BUSY)
                else:
                    server.sendall(request)

    def _is_doomed(self, asked: bytes, answer: bytes, num_bytes: int) -> bool:
        paths = re.findall(rb"PUT (\S+) HTTP/1\.1", asked)
        is_final = not answer.startswith(b"HTTP/1.1 100")
        if self.loses and is_final and paths and paths[-1].partition(b"?")[0].endswith(self.loses):
            self.lost.append(self.loses)
            self.loses = b""
            return True
        if self.breaks_after and num_bytes > self.breaks_after:
            self.lost.append(answer)
            self.breaks_after = 0
            return True
        return False


@pytest.fixture
def wire(seaweedfs: S3Server) -> Iterator[LossyWire]:
    endpoint = urlsplit(seaweedfs.endpoint)
    wire = LossyWire((endpoint.hostname or "", endpoint.port or 0))
    threading.Thread(target=wire.serve, daemon=True).start()
    yield wire
    wire.listener.close()


@pytest.fixture
def behind_wire(wire: LossyWire, seaweedfs: S3Server, request: pytest.FixtureRequest) -> Storage:
    server = replace(seaweedfs, endpoint=f"http://127.0.0.1:{wire.port}")
    return open_storage(server.settings(request.node.name))


def test_a_part_whose_answer_was_lost_counts_as_written(
    wire: LossyWire, behind_wire: Storage
) -> None:
    plan = partition.a_plan()
    wire.loses = b"part-000000.parquet"
    receipt = partition.write_shard(behind_wire, plan, 0)
    assert wire.lost == [b"part-000000.parquet"]
    assert read_receipt(behind_wire, part_key(plan, 0)) == receipt


def test_a_manifest_whose_answer_was_lost_counts_as_our_publication(
    wire: LossyWire, behind_wire: Storage
) -> None:
    plan = partition.a_plan()
    wire.loses = b"_SUCCESS"
    assert partition.run(behind_wire, plan, "ours", before=None)
    assert wire.lost == [b"_SUCCESS"]
    assert partition.read(behind_wire, plan).manifest.run == "ours"
    assert list_parts(behind_wire, plan.prefix) == {}


def test_a_body_that_is_cut_off_is_read_again(wire: LossyWire, behind_wire: Storage) -> None:
    data = bytes(range(256)) * 2**14
    behind_wire.put("large", data)
    wire.breaks_after = len(data) // 2
    assert behind_wire.get("large") == data
    assert len(wire.lost) == 1


def test_rows_are_read_from_a_busy_store(wire: LossyWire, behind_wire: Storage) -> None:
    numbers = pa.table({"n": [1, 2, 3]})
    behind_wire.put("rows.parquet", encode(numbers, SCHEMA, {}))
    wire.refuses = b"rows.parquet"
    assert read_rows(behind_wire, "rows.parquet") == numbers.cast(SCHEMA)
    assert wire.lost == [b"rows.parquet"]
