"""Nights of pictures on the real stack: put, train, generate, resume, export; and bad pictures."""

import io
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.night import Night, as_options, start_deployment, state_of, wait_until
from tests.support.reader import filesystem_of
from tests.unit.workers.picture_files import SCHEMA, drawings, picture, write_drawings
from workers.report import report_key

if TYPE_CHECKING:
    import playwright.sync_api

pytestmark = pytest.mark.timeout(900)
JOB = "product_images"
DAY = "2026-11-22"
COUNTS = {(0, "disc"): 60, (1, "cross"): 40}
SMALL_MODEL = as_options(
    "max_steps=150 classifier_steps=40 num_scored=60 num_validations=2 num_threads=2"
)
FILTERS_OFF = "reject_odd=false reject_copies=false reject_misread=false"
WITHOUT_FILTERS = as_options(FILTERS_OFF)


@pytest.fixture(scope="module")
def gallery(night: Night) -> Night:
    write_drawings(night.folder / "pictures.parquet", COUNTS)
    night.run("inputs", "put", "images", "pictures.parquet")
    output = night.run("train", JOB, "--date", DAY, "--model", "vae", *SMALL_MODEL)
    assert "CAS" in output
    return night


def published(night: Night, day: str) -> pa.Table:
    filesystem, root = filesystem_of(night.storage)
    return ds.dataset(f"{root}/outputs/{JOB}/dt={day}", filesystem=filesystem).to_table()


def shas(night: Night, day: str) -> list[str]:
    return [part["sha256"] for part in night.manifest(day, JOB)["parts"]]


def test_every_class_gets_as_many_pictures_as_were_asked_for(gallery: Night) -> None:
    assert "100 rows published" in gallery.run("run", JOB, "--date", DAY, *WITHOUT_FILTERS)
    rows = published(gallery, DAY)
    assert Counter(rows["label_name"].to_pylist()) == {"disc": 60, "cross": 40}
    assert len(set(rows["image_id"].to_pylist())) == 100
    assert Image.open(io.BytesIO(rows["image"][0].as_py()["bytes"])).size == (16, 16)
    assert "nothing changed since" in gallery.run("run", JOB, "--date", DAY, *WITHOUT_FILTERS)
    filled = gallery.run(
        "run", JOB, "--date", "2026-11-21", "--set", "amount=up-to-70", *WITHOUT_FILTERS
    )
    assert "40 rows published" in filled
    assert Counter(published(gallery, "2026-11-21")["label_name"].to_pylist()) == {
        "disc": 10,
        "cross": 30,
    }


def test_the_report_is_in_the_store_and_linked_from_the_run(gallery: Night) -> None:
    page = gallery.storage.get(f"reports/{JOB}/dt={DAY}/index.html").decode()
    assert page.count("data:image/png;base64,") == 40
    assert "CAS of real" in page
    assert "<svg" in page


def test_a_killed_run_resumes_with_the_same_bytes(gallery: Night) -> None:
    day = "2026-11-20"
    many = (*as_options("amount=400 rows_per_shard=16"), *WITHOUT_FILTERS)
    gallery.run("run", JOB, "--date", day, *many)
    undisturbed = shas(gallery, day)
    for prefix in (f"outputs/{JOB}/dt={day}/", f"work/{JOB}/dt={day}/"):
        gallery.storage.delete([item.key for item in gallery.storage.list(prefix)])
    victim = gallery.start("run", JOB, "--date", day, *many)
    parts = f"work/{JOB}/dt={day}/"
    wait_until(
        lambda: sum("/part-" in item.key for item in gallery.storage.list(parts)) >= 2,
        "two parts",
        victim,
    )
    os.killpg(victim.pid, 9)
    victim.communicate()
    assert "shards are already written" in gallery.run("run", JOB, "--date", day, *many)
    assert shas(gallery, day) == undisturbed


def test_pictures_that_are_odd_are_set_aside_and_counted(gallery: Night) -> None:
    day = "2026-11-19"
    gallery.run("run", JOB, "--date", day, "--set", "num_candidates=2")
    counts = gallery.manifest(day, JOB)["counts"]
    assert counts["accepted"] + counts["rejected"] == counts["input_rows"] == 100


def test_the_deployment_makes_pictures_too(gallery: Night) -> None:
    day = "2026-11-18"
    parameters = {"job": JOB, "date": day, "settings": f"amount=5 {FILTERS_OFF}"}
    run_id = start_deployment(gallery, "generate", parameters)
    wait_until(
        lambda: state_of(gallery, run_id)["type"] in ("COMPLETED", "FAILED", "CRASHED"),
        "the run's end",
    )
    assert state_of(gallery, run_id)["name"] == "Published"
    assert published(gallery, day).num_rows == 10
    with gallery.api as api:
        artifacts = api.post(
            "artifacts/filter", json={"flow_runs": {"id": {"any_": [run_id]}}}
        ).json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    own = {f"product-images-{what}" for what in ("report", "pictures", "rows", "figures")}
    assert own | {"overview"} <= by_key.keys()
    grid = httpx.get(by_key["product-images-pictures"]["data"])
    assert Image.open(io.BytesIO(grid.content)).format == "PNG"
    link = by_key["product-images-rows"]["data"].partition("](")[2].partition(")")[0]
    assert pq.read_table(io.BytesIO(httpx.get(link).content)).num_rows > 0
    assert f"{JOB}/dt={day}/index.html" in gallery.storage.get("reports/index.html").decode()
    gallery.run("reports", "--to", "pages")
    assert (gallery.folder / "pages" / JOB / f"dt={day}" / "pictures.png").exists()
    assert "is not empty" in gallery.run("reports", "--to", "pages", status=2)


def test_the_grid_and_the_pictures_of_the_report_load_in_a_browser(
    gallery: Night, page: "playwright.sync_api.Page"
) -> None:
    def sizes() -> list[int]:
        return page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")

    page.goto(gallery.storage.presign(report_key(JOB, DAY), 600))
    assert sizes() == [16] * 40
    with gallery.api as api:
        named = {
            "artifacts": {"key": {"any_": ["product-images-pictures"]}},
            "sort": "CREATED_DESC",
        }
        artifact = api.post("artifacts/filter", json=named).json()[0]
    ui = gallery.variables["PREFECT_API_URL"].removesuffix("/api")
    page.goto(f"{ui}/artifacts/artifact/{artifact['id']}")
    page.locator(f"img[src='{artifact['data']}']").first.wait_for()
    assert min(sizes()) > 0, "a picture that does not load has no width"


def test_several_families_compete(gallery: Night) -> None:
    gallery.run("train", JOB, "--date", DAY, "--model", "vae,gan", "--set", "seed=1", *SMALL_MODEL)
    found = json.loads(gallery.run("models", JOB, "--json"))["image_generator"]
    assert {version["family"] for version in found["versions"]} == {"vae", "gan"}
    names = {version["version"] for version in found["versions"]}
    assert found["champion"]["version"] in names
    met = [rival for version in found["versions"] for rival in version["rivals"].items()]
    assert {name for name, _ in met} <= names
    assert len(met) == 2, "each new version was compared with the champion"
    assert all(set(metrics) >= {"cas", "fcd"} for _, metrics in met)


def bad(**changes: Any) -> list[dict[str, Any]]:
    rows = drawings({(0, "disc"): 3}).to_pylist()
    return [*rows, rows[0] | changes]


def image_of(content: bytes | None) -> dict[str, Any]:
    return {"bytes": content, "path": "x"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda: bad(image=None), "found null; expected struct"),
        (
            lambda: bad(image=image_of(picture(Image.new("L", (16, 16)))[:-25])),
            "found a damaged PNG",
        ),
        (lambda: bad(image=image_of(picture(Image.new("L", (16, 16)), "GIF"))), "found a GIF"),
        (
            lambda: bad(image=image_of(picture(Image.new("CMYK", (16, 16)), "JPEG"))),
            "found a JPEG in CMYK",
        ),
        (
            lambda: bad(image=image_of(picture(Image.new("L", (1, 1))))),
            "found a picture of 1 x 1 pixels",
        ),
        (
            lambda: bad(image=image_of(picture(Image.new("L", (5000, 5000))))),
            "found a picture of 5000 x 5000 pixels",
        ),
        (lambda: bad(label=-1), "a negative number"),
        (lambda: bad(label=9), "found 9; expected 0, the label of"),
    ],
    ids=["null", "damaged", "gif", "cmyk", "1x1", "5000x5000", "negative", "two-labels"],
)
def test_a_file_with_a_bad_picture_is_refused_naming_its_row(
    gallery: Night, rows: Any, message: str
) -> None:
    pq.write_table(pa.Table.from_pylist(rows(), SCHEMA), gallery.folder / "bad.parquet")
    output = gallery.run("inputs", "put", "images", "bad.parquet", status=2)
    assert "bad.parquet, row 4" in output
    assert message in output


def test_mixed_sizes_and_lonely_pictures_are_refused_before_training(gallery: Night) -> None:
    write_drawings(gallery.folder / "larger.parquet", {(0, "disc"): 3, (7, "lonely"): 1}, px=20)
    gallery.run("inputs", "put", "images", "larger.parquet")
    try:
        output = gallery.run("train", JOB, "--date", DAY, status=2)
        assert "too few pictures to learn from" in output
        assert "lonely (1)" in output
    finally:
        gallery.run("inputs", "put", "images", "pictures.parquet", "--replace")
