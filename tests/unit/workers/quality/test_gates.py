from pathlib import Path

import pyarrow as pa

from infra.settings import Settings
from infra.storage import open_storage
from tests.unit.workers.plans.test_plan import plan_of
from workers.partitions.parts import QUARANTINE, Receipt, write_part
from workers.partitions.quality import measure_quality
from workers.quality.gates import Gate, find_breaches
from workers.quality.texts import TEXT_GATES, TextMeter

GOOD = {"passed_share": 0.95, "duplicate_share": 0.0, "distinct_2": 0.2, "mean_length": 20.0}


def test_quality_is_measured_over_all_parts(tmp_path: Path) -> None:
    storage, plan = (
        open_storage(Settings(storage_uri=f"file://{tmp_path}")),
        plan_of((8,), rows_per_shard=4),
    )
    receipts = []
    for shard, texts in enumerate([["a b c", "a b c", "d e"], ["a b c"]]):
        receipt = Receipt(
            shard=shard,
            fingerprint=plan.fingerprint,
            input_rows=4,
            accepted=len(texts),
            rejected=4 - len(texts),
            quarantined=0,
            future=0,
        )
        receipts.append(
            write_part(storage, plan, receipt, pa.table({"text": texts}), QUARANTINE.empty_table())
        )
    quality = measure_quality(storage, plan, receipts, TextMeter())
    assert quality == {
        "passed_share": 0.5,
        "duplicate_share": 0.5,
        "distinct_2": 3 / 7,
        "mean_length": 2.75,
    }


def test_a_partition_without_rows_has_quality_too(tmp_path: Path) -> None:
    storage, plan = open_storage(Settings(storage_uri=f"file://{tmp_path}")), plan_of((4,))
    assert measure_quality(storage, plan, [], TextMeter())["passed_share"] == 0.0


def test_good_quality_breaks_no_gate() -> None:
    assert find_breaches(TEXT_GATES, GOOD, None) == []
    assert find_breaches(TEXT_GATES, GOOD, GOOD) == []


def test_each_gate_names_its_value_and_its_limit() -> None:
    bad = {"passed_share": 0.1, "duplicate_share": 0.9, "distinct_2": 0.0, "mean_length": 2.0}
    found = [str(breach) for breach in find_breaches(TEXT_GATES, bad, GOOD)]
    assert found == [
        "passed_share is 0.1, the limit is 0.8",
        "duplicate_share is 0.9, the limit is 0.2",
        "distinct_2 is 0, the limit is 0.002",
        "mean_length_drift is 0.9, the limit is 0.5",
    ]


def test_a_partition_without_accepted_rows_breaks_only_that_gate() -> None:
    nothing = {"passed_share": 0.0, "duplicate_share": 0.0, "distinct_2": 0.0, "mean_length": 0.0}
    assert [breach.gate for breach in find_breaches(TEXT_GATES, nothing, GOOD)] == ["passed_share"]


def test_gates_against_the_last_night_distinguish_falls_from_rises() -> None:
    gates = (Gate("ndcg", "drop", 0.3), Gate("lift", "rise", 1.0))
    last = {"ndcg": 0.1, "lift": -0.5}
    kept = [{"ndcg": 0.9, "lift": 0.4}, {"ndcg": 0.071, "lift": -9.0}]
    assert [find_breaches(gates, {"passed_share": 1.0, **quality}, last) for quality in kept] == [
        [],
        [],
    ]
    broken = {"passed_share": 1.0, "ndcg": 0.05, "lift": 1.0}
    found = [str(breach) for breach in find_breaches(gates, broken, last)]
    assert found == ["ndcg_drop is 0.5, the limit is 0.3", "lift_rise is 1.5, the limit is 1"]
    assert find_breaches(gates, broken, None) == find_breaches(gates, broken, {"other": 1.0}) == []


def test_a_rise_from_zero_is_measured_and_a_change_relative_to_zero_is_not() -> None:
    gates = (
        Gate("duplicate_share", "rise", 0.1),
        Gate("ndcg", "drop", 0.3),
        Gate("length", "drift", 0.5),
    )
    tonight = {"passed_share": 1.0, "duplicate_share": 0.95, "ndcg": 0.0, "length": 9.0}
    found = find_breaches(gates, tonight, {"duplicate_share": 0.0, "ndcg": 0.0, "length": 0.0})
    assert [str(breach) for breach in found] == ["duplicate_share_rise is 0.95, the limit is 0.1"]
