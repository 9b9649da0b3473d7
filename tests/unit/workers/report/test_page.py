import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from infra.storage import Storage
from infra.storage.parquet import encode
from tests.support.manifests import a_manifest, some_parts
from tests.unit.workers.conftest import DISC, store_of
from tests.unit.workers.picture_files import drawings
from workers.partitions.manifest import Manifest
from workers.partitions.parts import QUARANTINE
from workers.pins import InputObject, ModelPin, Order, Snapshot
from workers.registry.versions import ModelVersion, publish_version
from workers.report import has_report, report_key, write_grid, write_report

DAY = "2026-11-22"
SCRIPT = "<script>alert(1)</script>"
FIGURES = [("rows published", "4"), ("odd", SCRIPT)]


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def storage(tmp_path: Path, tiny_folder: Path) -> Storage:
    storage = store_of(tmp_path / "store", drawings({DISC: 3, (1, SCRIPT): 3}))
    version = ModelVersion(
        name="image_generator",
        version="v1",
        family="vae",
        through=DAY,
        weights_sha256="0" * 64,
        training="t",
        trained_on={},
        metrics={"fcd": 1.5, "fcd_floor": 0.2, "cas": 0.9, "cpu_seconds": 12.0},
    )
    publish_version(storage, tiny_folder / "model", version)
    return storage


def manifest_of(storage: Storage, *, with_orders: bool) -> Manifest:
    part = f"outputs/product_images/dt={DAY}/part.parquet"
    table = drawings({DISC: 2, (1, SCRIPT): 2}, seed=7)
    storage.put(part, encode(table, table.schema, {}))
    aside = [
        {"row_id": "r", "stage": "check", "error": f"odd: {n}", "traceback": "", "attempts": 1}
        for n in range(2)
    ]
    quarantine = encode(pa.Table.from_pylist(aside, QUARANTINE), QUARANTINE, {})
    storage.put(f"work/product_images/dt={DAY}/f00d/quarantine-000000.parquet", quarantine)
    source = InputObject("inputs/images/0.parquet", "e", 1, (6,))
    orders = (Order(DISC[0], DISC[1], 2), Order(1, SCRIPT, 2))
    return a_manifest(
        job="product_images",
        fingerprint="f00d",
        parts=some_parts(part, rows=4),
        orders=orders if with_orders else (),
        snapshot=Snapshot("images", f"{DAY}T24:00:00+00:00", (source,)),
        model=ModelPin("image_generator", "v1", "0" * 64, DAY),
    )


def test_the_page_shows_pictures_beside_real_ones_and_is_self_contained(
    storage: Storage,
) -> None:
    manifest = manifest_of(storage, with_orders=True)
    assert not has_report(storage, manifest)
    key = write_report(storage, manifest, FIGURES, [])
    assert key == report_key("product_images", DAY)
    assert has_report(storage, manifest)
    assert not has_report(storage, replace(manifest, generation=2))
    text = storage.get(key).decode()
    page = Elements(text)
    assert page.tags.count("img") == 3 + 3 + 2 + 2
    assert "svg" in page.tags
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert "<th>check: odd</th><td>2</td>" in text


def test_the_page_begins_with_the_verdict_and_the_rows_and_ends_with_lineage(
    storage: Storage,
) -> None:
    manifest = manifest_of(storage, with_orders=True)
    text = storage.get(write_report(storage, manifest, FIGURES, [])).decode()
    headings = ["Pictures", "Rows set aside", "Figures", "Training", "Lineage"]
    places = [text.index(f"<h2>{heading}</h2>") for heading in headings]
    assert places == sorted(places)
    verdict = "Published on 2026-11-23 02:00 UTC: 1,234 of 1,239 rows. 5 were rejected by checks"
    assert text.index(verdict) < places[0]
    assert "All quality gates passed." in text
    ignored = replace(manifest, breaches=("distinct_2 is 0, the limit is 0.1",))
    text = storage.get(write_report(storage, ignored, FIGURES, [])).decode()
    assert "Published although a quality gate failed: distinct_2 is 0" in text


def test_markup_in_data_stays_text(storage: Storage) -> None:
    manifest = manifest_of(storage, with_orders=True)
    text = storage.get(write_report(storage, manifest, FIGURES, [])).decode()
    assert "script" not in Elements(text).tags
    assert text.count("&lt;script&gt;") >= 2


def test_texts_are_shown_as_samples(storage: Storage) -> None:
    manifest = manifest_of(storage, with_orders=False)
    text = storage.get(
        write_report(storage, manifest, FIGURES, [("p1", f"A {SCRIPT} kettle")])
    ).decode()
    assert "A &lt;script&gt;alert(1)&lt;/script&gt; kettle" in text
    assert "img" not in Elements(text).tags


def test_the_grid_has_a_row_for_each_class(storage: Storage) -> None:
    manifest = manifest_of(storage, with_orders=True)
    key = write_grid(storage, manifest)
    assert key == f"reports/product_images/dt={DAY}/pictures.png"
    grid = Image.open(io.BytesIO(storage.get(key)))
    assert grid.size == (10 * 52 + 4, 2 * 52 + 4)
    assert grid.getpixel((2, 2)) == grid.getpixel((300, 30)) == (255, 255, 255)
    assert len(set(grid.crop((4, 4, 52, 52)).getdata())) > 1
