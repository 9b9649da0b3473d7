import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from infra.errors import OutOfMemory
from infra.storage.parquet import fit
from workers.generation.rows import RowGenerator, ShardRows
from workers.jobs import JOBS
from workers.partitions.parts import QUARANTINE
from workers.text_rows import TEXT_OUTPUT, TextSettings

JOB = JOBS["copywriting"]
REPO_ROOT = Path(__file__).resolve().parents[4]
POISON = "poison"


@dataclass
class Shouter:
    """A tiny model: repeats the intent in capitals.

    It rejects `reject`, raises on `poison`, accepts `fickle` only with an odd row seed, and runs
    out of memory with more than `most_rows` rows at once.
    """

    most_rows: int = 1_000
    batches: list[int] = field(default_factory=list)
    out_of_memory: Callable[[], Exception] = MemoryError

    def text(self, intent: str, seed: int) -> tuple[str, list[str]]:
        if intent == POISON:
            raise ValueError("this row cannot be done")
        is_wrong = intent == "reject" or (intent == "fickle" and seed % 2 == 0)
        return intent.upper(), ["too quiet"] if is_wrong else []


def shout(
    model: Shouter, batch: pa.Table, row_seeds: list[int], settings: TextSettings
) -> pa.Table:
    if batch.num_rows > model.most_rows:
        raise model.out_of_memory()
    model.batches.append(batch.num_rows)
    texts = [
        model.text(intent, seed)
        for intent, seed in zip(batch["intent"].to_pylist(), row_seeds, strict=True)
    ]
    ones = pa.array([1] * len(texts), pa.int32())
    columns = [
        pa.array([text for text, _ in texts]),
        pa.array([not problems for _, problems in texts]),
        pa.array([problems for _, problems in texts], pa.list_(pa.string())),
        pa.array([float(seed % 7) for seed in row_seeds]),
        ones,
        ones,
    ]
    fields = {field.name: column for field, column in zip(TEXT_OUTPUT, columns, strict=True)}
    return pa.table({"request_id": batch["request_id"], "intent": batch["intent"], **fields})


SHOUTING = replace(JOB, generate=shout)


def requests(intents: list[str]) -> pa.Table:
    return pa.table(
        {"request_id": [f"r{number}" for number in range(len(intents))], "intent": intents}
    )


def generate(
    intents: list[str], attempts: int = 1, model: Shouter | None = None, **settings: Any
) -> ShardRows:
    generator = RowGenerator(SHOUTING, model or Shouter(), "v1", TextSettings(**settings))
    result = ShardRows(SHOUTING)
    generator.complete(result, requests(intents), attempts, lambda done: None)
    return result


def run(intents: list[str], **settings: Any) -> tuple[pa.Table, list[dict[str, Any]], ShardRows]:
    result = generate(intents, **settings)
    return result.table(), result.quarantine().to_pylist(), result


def test_every_row_appears_once_as_a_row_or_set_aside() -> None:
    intents = ["a", POISON, "b", "reject", "c", POISON, *["d"] * 40]
    rows, aside, result = run(intents, batch_rows=8)
    ids = rows["request_id"].to_pylist() + [row["row_id"] for row in aside]
    assert sorted(ids) == sorted(f"r{number}" for number in range(len(intents)))
    assert (result.num_rejected, result.num_quarantined) == (1, 2)


def test_a_poison_row_is_found_by_bisection_and_keeps_its_error() -> None:
    _, aside, _ = run(["a"] * 7 + [POISON] + ["a"] * 8, batch_rows=16)
    (row,) = aside
    assert (row["row_id"], row["stage"], row["error"]) == (
        "r7",
        "generate",
        "this row cannot be done",
    )
    assert "ValueError" in row["traceback"]


def test_a_row_without_an_id_is_set_aside_under_its_position() -> None:
    result, rows = ShardRows(SHOUTING), requests(["a"] * 8)
    ids = pa.array(["r0", None, "r2", "r3", "r4", "r5", "r6", None])
    generator = RowGenerator(SHOUTING, Shouter(), "v1", TextSettings())
    generator.complete(result, rows.set_column(0, "request_id", ids), 2, lambda done: None)
    aside = [
        (row["row_id"], row["error"]) for row in fit(result.quarantine(), QUARANTINE).to_pylist()
    ]
    error = "column request_id: found null; expected an id"
    assert aside == [("row 2 of the shard", error), ("row 8 of the shard", error)]
    kept = generate(["a"] * 8).table()
    assert result.table().equals(kept.filter(pc.is_in(kept["request_id"], ids)))


def test_a_rejected_row_keeps_its_reason_and_what_was_generated() -> None:
    rows, (row,), _ = run(["reject"])
    assert rows.num_rows == 0
    assert (row["stage"], row["error"]) == ("check", "too quiet")
    assert '"text": "REJECT"' in row["output"]


def test_rows_do_not_depend_on_their_batch() -> None:
    intents = [f"text {number}" for number in range(50)]
    assert run(intents, batch_rows=7)[0].equals(run(intents, batch_rows=50)[0])


def test_a_shard_without_rows_is_an_empty_part() -> None:
    assert generate([], 2).table().equals(SHOUTING.schema.empty_table())


@pytest.mark.parametrize(
    "out_of_memory",
    [
        MemoryError,
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 12 bytes"
        ),
        lambda: pa.ArrowMemoryError("malloc of size 12 failed"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_later_ones_are_smaller(
    out_of_memory: Callable[[], Exception],
) -> None:
    intents = [f"text {number}" for number in range(40)]
    model = Shouter(most_rows=5, out_of_memory=out_of_memory)
    result = generate(intents, model=model, batch_rows=16)
    assert result.set_aside == {}
    assert result.table().equals(run(intents)[0])
    assert model.batches == [4] * 10, (
        "the first batch is halved twice; later ones never have more rows"
    )


def test_a_row_is_not_quarantined_because_memory_ran_out() -> None:
    rows, aside, _ = run(["a", POISON, *["b"] * 14], model=Shouter(most_rows=2), batch_rows=16)
    assert ([row["row_id"] for row in aside], rows.num_rows) == (["r1"], 15)


def test_the_error_names_a_row_that_does_not_fit_even_alone() -> None:
    with pytest.raises(OutOfMemory, match="row r0 alone"):
        generate(["a", "b", "c"], model=Shouter(most_rows=0))


def test_a_driver_without_torch_recognises_its_out_of_memory_error() -> None:
    code = (
        "import pickle, sys; from workers.actors.memory import is_out_of_memory; "
        "assert 'torch' not in sys.modules; "
        "sys.exit(not is_out_of_memory(pickle.loads(bytes.fromhex(sys.argv[1]))))"
    )
    error = pickle.dumps(torch.OutOfMemoryError("CUDA out of memory")).hex()
    subprocess.run([sys.executable, "-c", code, error], cwd=REPO_ROOT, check=True)


def test_an_ordinary_error_does_not_make_batches_smaller() -> None:
    model = Shouter()
    generate([POISON, *["a"] * 31], model=model, batch_rows=16)
    assert model.batches[-1] == 16


MIXED = ["a", "fickle", POISON, "reject", *["fickle"] * 12, "b", POISON]


def test_rows_set_aside_are_retried_with_other_seeds_and_the_rest_is_kept() -> None:
    once, thrice = generate(MIXED, 1, batch_rows=4), generate(MIXED, 3, batch_rows=4)
    kept = once.table().to_pylist()
    found = {row["request_id"]: row for row in thrice.table().to_pylist()}
    assert all(found[row["request_id"]] == row for row in kept)
    assert len(found) > len(kept)
    assert list(found) == [
        row_id for row_id in requests(MIXED)["request_id"].to_pylist() if row_id in found
    ]
    assert thrice.num_rejected + thrice.num_quarantined + len(found) == len(MIXED)
    aside = thrice.quarantine().to_pylist()
    assert {"r2", "r3", "r17"} <= {row["row_id"] for row in aside}
    assert {row["attempts"] for row in aside} == {3}


def test_every_attempt_draws_differently_and_reproducibly() -> None:
    seeds = [
        {
            row["request_id"]: row["row_seed"]
            for row in generate(["fickle"] * 30, attempts).table().to_pylist()
        }
        for attempts in (1, 2, 3)
    ]
    assert len(seeds[0]) < len(seeds[1]) < len(seeds[2])
    assert seeds[0].items() < seeds[1].items() < seeds[2].items()
    assert generate(["fickle"] * 30, 3).table().equals(generate(["fickle"] * 30, 3).table())
