"""Kills every part of a night at random moments and at every step of publishing, and counts lost
rows.

    python -m tests.support.chaos --kills 100 --seed 1

After each kill the run must end by itself. What died is restarted, one rerun must publish, and the
published rows must be those of an undisturbed run, byte for byte. The only output is a table.
"""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pyarrow.dataset as ds

from infra.storage.parquet import read_rows
from tests.support.chaos_table import End, Kill, print_table, progress_line
from tests.support.killed_at import ANNOUNCEMENT
from tests.support.night import JOB, NUM_PRODUCTS, Night, as_options, running_night
from tests.support.reader import filesystem_of
from tests.support.victims import SHARES, VICTIMS, Scene
from workers.partitions.manifest import manifest_key, read_published
from workers.plans.plan import partition_output_prefix, partition_work_prefix

DAY = "2026-09-01"
RUN = ("run", JOB, "--date", DAY, *as_options("rows_per_shard=8 batch_rows=2 num_candidates=400"))
OTHER_RUN = (*RUN, "--set", "seed=1")
PREFIXES = (partition_output_prefix(JOB, DAY), partition_work_prefix(JOB, DAY))
RUN_BOUND_S = 300
"""A disturbed run that takes longer than this hangs."""
PATIENCE = {"NIGHTSHIFT_SERVER_WAIT_S": "30"}
"""Lets a run without a Prefect server give up within the bound."""
MAX_RERUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """What an undisturbed run publishes."""

    words: tuple[str, ...]
    parts: list[tuple[str, int, int]]
    """SHA-256, rows and size of each part."""
    accepted: set[str]
    set_aside: set[str]
    seconds: float
    steps: list[str]
    """The driver's own changing calls to the store."""


@dataclass
class Chaos:
    """One date on a running stack, generated and disturbed again and again."""

    night: Night
    random: random.Random
    kills: list[Kill] = field(default_factory=list)
    runs: dict[tuple[str, ...], Undisturbed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.night = replace(self.night, environment=self.night.environment | PATIENCE)

    def forget(self) -> None:
        """Deletes everything that this test has put into the store."""
        self.night.forget(DAY)
        self.night.storage.delete([item.key for item in self.night.storage.list("stash/")])

    def undisturbed(self, words: tuple[str, ...] = RUN) -> Undisturbed:
        """Runs once from nothing, and once more, which must change nothing; cached."""
        if words not in self.runs:
            self.night.forget(DAY)
            started = time.monotonic()
            output = self.night.run("0", "before", *words, module="tests.support.killed_at")
            seconds = time.monotonic() - started
            calls = [line for line in output.splitlines() if line.startswith(ANNOUNCEMENT)]
            published = read_published(self.night.storage, JOB, DAY)
            assert published is not None
            accepted, set_aside = self._row_ids()
            assert len(accepted | set_aside) == len(accepted) + len(set_aside) == NUM_PRODUCTS
            self.runs[words] = Undisturbed(
                words=words,
                parts=[
                    (part.sha256, part.rows, part.size_bytes) for part in published.manifest.parts
                ],
                accepted=accepted,
                set_aside=set_aside,
                seconds=seconds,
                steps=[_step_name(call) for call in calls],
            )
            assert self._problems(self.runs[words]) == []
            assert "nothing changed since" in self.night.run(*words)
        return self.runs[words]

    def strike(self, victim: str) -> Kill:
        """Kills the victim at a random moment of a run; repeated if the run had already ended."""
        expected = self.undisturbed()
        scene = Scene(self.night, self.random, expected.seconds)
        with VICTIMS[victim](scene) as kill:
            while True:
                self.night.forget(DAY)
                run = self.night.start(*expected.words)
                if kill(run):
                    break
                run.communicate(timeout=RUN_BOUND_S)
            end = self._end(run)
        return self._rerun_and_judge(victim, expected, end)

    def strike_step(self, step: int, side: str, *, replaces: bool) -> Kill:
        """Kills the driver right before or after a changing call to the store.

        The date is new or, with `replaces`, already published. Whatever is published must stay
        readable through its manifest.
        """
        old, expected = self.undisturbed(OTHER_RUN), self.undisturbed()
        self._restore("published" if replaces else "generated", old if replaces else expected)
        run = self.night.start(str(step), side, *expected.words, module="tests.support.killed_at")
        end = self._end(run)
        assert end.status == -signal.SIGKILL, f"step {step} never came: {end.last_words}"
        problems = self._readable(old, expected) if replaces else []
        name = f"{'replacing' if replaces else 'publishing'}: {side} {expected.steps[step - 1]}"
        return self._rerun_and_judge(name, expected, end, problems)

    def _rerun_and_judge(
        self, name: str, expected: Undisturbed, end: End, problems: list[str] | None = None
    ) -> Kill:
        kept = self.night.num_parts(DAY)
        num_reruns, ended = 0, False
        while not ended and num_reruns < MAX_RERUNS:
            run = self.night.start(*expected.words)
            ended = self._end(run).status == 0
            num_reruns += 1
        found = [*(problems or []), *self._problems(expected)]
        if num_reruns > 1:
            found.append(f"{num_reruns} reruns were needed")
        # only once per name: a command takes seconds to start
        is_first = not any(kill.name == name for kill in self.kills)
        if is_first and "nothing changed since" not in self.night.run(*expected.words):
            found.append("the second rerun did something")
        lost, doubled = self._lost_and_doubled(expected)
        kill = Kill(name, end, kept, lost, doubled, found)
        self.kills.append(kill)
        return kill

    def _end(self, run: "subprocess.Popen[str]") -> End:
        try:
            output, _ = run.communicate(timeout=RUN_BOUND_S)
        except subprocess.TimeoutExpired:
            run.kill()
            output, _ = run.communicate()
            raise AssertionError(f"the run hangs:\n{output}") from None
        errors = [line for line in output.splitlines() if "error" in line.lower()]
        return End(run.returncode, (errors or output.splitlines() or [""])[-1])

    def _restore(self, state: str, made_by: Undisturbed) -> None:
        """Restores the date with all parts generated or, for "published", with what `made_by` has
        published."""
        storage, stash = self.night.storage, f"stash/{state}/"
        if not list(storage.list(stash)):
            self.night.forget(DAY)
            step = next(i for i, name in enumerate(made_by.steps, 1) if name.startswith("copy"))
            stop = ("0" if state == "published" else str(step), "before")
            self._end(self.night.start(*stop, *made_by.words, module="tests.support.killed_at"))
            for prefix in PREFIXES:
                for item in list(storage.list(prefix)):
                    storage.copy(item.key, stash + item.key)
        self.night.forget(DAY)
        for item in list(storage.list(stash)):
            storage.copy(item.key, item.key.removeprefix(stash))

    def _readable(self, *candidates: Undisturbed) -> list[str]:
        """A problem unless the manifest is one of the candidates' and every part matches it."""
        published = read_published(self.night.storage, JOB, DAY)
        if published is None:
            return ["nothing is published any more"]
        parts = [
            (
                hashlib.sha256(self.night.storage.get(part.key)).hexdigest(),
                part.rows,
                part.size_bytes,
            )
            for part in published.manifest.parts
        ]
        if parts in [candidate.parts for candidate in candidates]:
            return []
        return ["the published parts are nobody's"]

    def _problems(self, expected: Undisturbed) -> list[str]:
        """What differs from the undisturbed run: bytes, rows, or unexpected files."""
        found = self._readable(expected)
        if found:
            return found
        published = read_published(self.night.storage, JOB, DAY)
        assert published is not None
        there = {item.key for item in self.night.storage.list(PREFIXES[0])}
        foreign = there - published.manifest.part_keys - {manifest_key(JOB, DAY)}
        found += [f"{key} is not part of the partition" for key in sorted(foreign)]
        if num_left := self.night.num_parts(DAY):
            found.append(f"{num_left} parts are left in the work folder")
        if self._row_ids() != (expected.accepted, expected.set_aside):
            found.append("different rows were accepted or set aside")
        return found

    def _row_ids(self) -> tuple[set[str], set[str]]:
        quarantined = [
            item.key for item in self.night.storage.list(PREFIXES[1]) if "/quarantine-" in item.key
        ]
        set_aside = [
            row
            for key in quarantined
            for row in read_rows(self.night.storage, key)["row_id"].to_pylist()
        ]
        return set(self._published_ids()), set(set_aside)

    def _published_ids(self) -> list[str]:
        """The ids that a plain reader of the folder finds."""
        filesystem, root = filesystem_of(self.night.storage)
        return (
            ds.dataset(f"{root}/{PREFIXES[0]}", filesystem=filesystem)
            .to_table()["product_id"]
            .to_pylist()
        )

    def _lost_and_doubled(self, expected: Undisturbed) -> tuple[int, int]:
        counts = Counter(self._published_ids())
        return len(expected.accepted - set(counts)), sum(counts.values()) - len(counts)


def _step_name(announcement: str) -> str:
    """Turns "changing call 3: copy outputs/…/part-000001-….parquet" into "copy of a part"."""
    verb, _, key = announcement.partition(": ")[2].partition(" ")
    if verb == "copy":
        return "copy of a part"
    if verb == "delete":
        return "delete"
    return f"put of {key.rpartition('/')[2]}"


def long_form(chaos: Chaos, num_kills: int) -> Iterator[Kill]:
    """Strikes both sides of every step of publishing, new and replacing; random kills fill up to
    `num_kills`."""
    steps = range(1, len(chaos.undisturbed().steps) + 1)
    at_steps = [
        (step, side, replaces)
        for step in steps
        for side in ("before", "after")
        for replaces in (False, True)
    ]
    rounds = [
        partial(chaos.strike_step, step, side, replaces=replaces)
        for step, side, replaces in at_steps
    ]
    victims = cycle(name for name, share in SHARES.items() for _ in range(share))
    rounds += [
        partial(chaos.strike, name) for name in islice(victims, max(0, num_kills - len(rounds)))
    ]
    chaos.random.shuffle(rounds)
    for strike in rounds[:num_kills]:
        yield strike()


@contextmanager
def own_stack() -> Iterator[Night]:
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        running_night(Path(folder)) as night,
    ):
        yield night


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with own_stack() as night:
        chaos = Chaos(night, random.Random(options.seed))
        started = time.monotonic()
        try:
            for kill in long_form(chaos, options.kills):
                print(progress_line(kill, len(chaos.kills), time.monotonic() - started), flush=True)
        finally:  # after Ctrl-C, too
            print_table(chaos.kills)
            print(f"{(time.monotonic() - started) / 60:.0f} minutes")
    return int(any(kill.problems or kill.lost or kill.doubled for kill in chaos.kills))


if __name__ == "__main__":
    sys.exit(main())
