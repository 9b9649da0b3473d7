"""The report on a published partition: samples, rows set aside, figures, the model and its
training, lineage.

The template escapes everything that comes from data.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from infra.storage import Storage
from infra.storage.parquet import read_rows
from workers.models import MODELS
from workers.partitions.manifest import Manifest, snapshots
from workers.plans.plan import partition_work_prefix
from workers.registry.versions import ModelVersion, find_version
from workers.report.people import example_people
from workers.report.pictures import class_samples
from workers.report.trend import draw_trend, last_nights

FINGERPRINT = "nightshift-manifest"
"""The page's metadata that identifies the manifest it reports on."""
MAX_REASONS = 20
MAX_REASON_CHARS = 120
MAX_INPUTS = 20
"""Files of a table that the lineage lists."""
Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ModelSection:
    """What the page shows of one model."""

    version: ModelVersion
    metrics: Rows
    charts: list[str]
    """SVG of the training curves."""


def report_key(job: str, day: str) -> str:
    return f"reports/{job}/dt={day}/index.html"


def has_report(storage: Storage, manifest: Manifest) -> bool:
    """Whether the page of this very manifest exists."""
    info = storage.head(report_key(manifest.job, manifest.date))
    return info is not None and info.metadata.get(FINGERPRINT) == _identity(manifest)


def template(name: str) -> Template:
    """A page's template, which escapes the values it is given."""
    environment = Environment(
        loader=PackageLoader("workers.report", "."),
        autoescape=select_autoescape(["j2"]),
        undefined=StrictUndefined,
    )
    return environment.get_template(name)


def write_report(storage: Storage, manifest: Manifest, figures: Rows, samples: Rows) -> str:
    """Writes the page and returns its key. `samples` are (id, description) of published rows."""
    versions = [find_version(storage, pin.name, pin.version) for pin in manifest.model_pins]
    models = [
        ModelSection(version, _metrics(version), _charts(storage, version)) for version in versions
    ]
    people = example_people(storage, manifest)
    text = template("page.html.j2").render(
        job=manifest.job,
        date=manifest.date,
        verdict=_verdict(manifest),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        figures=figures,
        samples=[] if manifest.orders or people else samples,
        people=people,
        classes=class_samples(storage, manifest) if manifest.orders else [],
        models=models,
        trend=draw_trend(last_nights(storage, manifest)),
        reasons=reasons_set_aside(storage, manifest),
        num_set_aside=manifest.counts.set_aside,
        lineage=_lineage(manifest),
    )
    key = report_key(manifest.job, manifest.date)
    metadata = {FINGERPRINT: _identity(manifest)}
    storage.put(key, text.encode(), content_type="text/html; charset=utf-8", metadata=metadata)
    return key


def _identity(manifest: Manifest) -> str:
    return f"{manifest.fingerprint}-{manifest.generation}"


def _verdict(manifest: Manifest) -> list[str]:
    """What was published and whether the gates passed, a sentence each."""
    counts = manifest.counts
    published_at = datetime.fromisoformat(manifest.published_at).strftime("%Y-%m-%d %H:%M UTC")
    rows = (
        f"Published on {published_at}: {counts.accepted:,} of {counts.input_rows:,} rows. "
        f"{counts.rejected:,} were rejected by checks, {counts.quarantined:,} quarantined."
    )
    if not manifest.breaches:
        return [rows, "All quality gates passed."]
    return [rows, f"Published although a quality gate failed: {'; '.join(manifest.breaches)}."]


def _metrics(version: ModelVersion) -> Rows:
    rows = []
    for label, name in MODELS[version.name].figures.items():
        if name in version.metrics:
            rows.append((label, f"{version.metrics[name]:.4g}"))
    rows.append(("CPU seconds of training", f"{version.metrics['cpu_seconds']:,.0f}"))
    return rows


def _charts(storage: Storage, version: ModelVersion) -> list[str]:
    from workers.report.charts import draw_curves, read_curves

    with tempfile.TemporaryDirectory() as folder:
        storage.download(f"{version.prefix}tensorboard/", Path(folder))
        return [
            draw_curves(name, curves)
            for name, curves in read_curves(Path(folder)).items()
            if curves
        ]


def reasons_set_aside(storage: Storage, manifest: Manifest) -> list[tuple[str, int]]:
    """Why rows were set aside, and how many for each reason. Figures that differ from row to row
    are cut off."""
    work_prefix = partition_work_prefix(manifest.job, manifest.date)
    prefix = f"{work_prefix}{manifest.fingerprint}/quarantine-"
    counts: Counter[str] = Counter()
    for item in storage.list(prefix):
        for row in read_rows(storage, item.key, columns=["stage", "error"]).to_pylist():
            error = row["error"].partition(":")[0].strip()[:MAX_REASON_CHARS]
            counts[f"{row['stage']}: {error}"] += 1
    return counts.most_common(MAX_REASONS)


def _lineage(manifest: Manifest) -> Rows:
    rows = [("fingerprint", manifest.fingerprint), ("published at", manifest.published_at)]
    for pin in manifest.model_pins:
        rows.append((pin.name, f"{pin.version}, trained on data through {pin.through}"))
        rows.append((f"weights of {pin.name}", f"SHA-256 {pin.weights_sha256}"))
    for snapshot in snapshots(manifest):
        for item in snapshot.objects[:MAX_INPUTS]:
            rows.append((f"input {item.key}", f"{item.num_rows:,} rows, ETag {item.etag}"))
    for name, value in manifest.settings.items():
        rows.append((f"setting {name}", str(value)))
    rows.append(("code", manifest.code))
    return rows
