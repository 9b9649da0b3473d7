from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.unit.workers.report.test_people import prepared_plan, published
from workers.partitions.manifest import Manifest
from workers.partitions.states import record_outcome
from workers.report import OVERVIEW, report_key, write_overview

SCRIPT = "<script>alert(1)</script>"
TODAY = date(2026, 11, 25)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}"))


def publish(storage: Storage, day: str) -> Manifest:
    manifest = published(storage, day)
    part = manifest.parts[0]
    storage.put(part.key, b"x" * part.size_bytes)
    return manifest


def page(storage: Storage, **settings: Any) -> str:
    return storage.get(write_overview(storage, TODAY, **settings)).decode()


def test_each_night_has_the_sign_of_its_state_and_a_link_to_its_page(storage: Storage) -> None:
    manifest = publish(storage, "2026-11-20")
    key = report_key(manifest.job, "2026-11-20")
    storage.put(key, b"")
    publish(storage, "2026-11-21")
    held = prepared_plan(storage, "2026-11-22")
    held.store(storage)
    record_outcome(storage, held, "held", [f"passed_share is 0 {SCRIPT}"])
    replace(prepared_plan(storage, "2026-11-23")).store(storage)
    text = page(storage)
    assert OVERVIEW == "reports/index.html"
    link = f'href="{manifest.job}/dt=2026-11-20/index.html"'
    assert f'<a class="published" {link} title="2026-11-20 published, 2 rows">' in text
    assert text.count('class="published"') == 2
    assert text.count("<a ") == 1, "the other night has no page"
    assert '<span class="held" title="2026-11-22 held: passed_share is 0 &lt;script&gt;' in text
    assert '<span class="unfinished" title="2026-11-23 unfinished">○</span>' in text
    assert SCRIPT not in text
    assert "All jobs · 2026-10-19 to 2026-11-25" in text


def test_sums_cover_published_nights_and_the_price_of_actor_hours(storage: Storage) -> None:
    publish(storage, "2026-11-20")
    publish(storage, "2026-11-21")
    text = page(storage, price_per_hour=2.0)
    assert "<td>2</td><td>4</td><td>0.0%</td><td>2.0</td><td>0.000</td><td>0.00</td>" in text
    assert "rows per second" in text
    assert "<th>cost</th>" in text
    assert "<th>cost</th>" not in page(storage)


def test_a_store_without_any_night_has_an_empty_calendar(storage: Storage) -> None:
    assert "<svg" not in page(storage)
