"""Puts a partition's report together: figures, samples, the model and its training, what was set
aside, lineage.

Everything that comes from data is escaped by the template.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
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
"""Metadata of a page: which manifest it reports on."""
MAX_REASONS = 20
Rows = Sequence[tuple[str, str]]


def report_key(job: str, day: str) -> str:
    return f"reports/{job}/dt={day}/index.html"


def has_report(storage: Storage, manifest: Manifest) -> bool:
    """Whether the page of just this manifest is there."""
    info = storage.head(report_key(manifest.job, manifest.date))
    return info is not None and info.metadata.get(FINGERPRINT) == _identity(manifest)


def template(name: str) -> Template:
    """A page's template; what it is given from data is escaped."""
    loader = PackageLoader("workers.report", ".")
    return Environment(
        loader=loader, autoescape=select_autoescape(["j2"]), undefined=StrictUndefined
    ).get_template(name)


def write_report(storage: Storage, manifest: Manifest, figures: Rows, samples: Rows) -> str:
    """Writes the page and returns its key. `figures` are of the partition, `samples` are rows in
    words."""
    versions = [find_version(storage, pin.name, pin.version) for pin in manifest.model_pins]
    people = example_people(storage, manifest)
    text = template("page.html.j2").render(
        job=manifest.job,
        date=manifest.date,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        figures=figures,
        samples=[] if manifest.orders or people else samples,
        people=people,
        classes=class_samples(storage, manifest) if manifest.orders else [],
        models=[(version, _metrics(version), _charts(storage, version)) for version in versions],
        trend=draw_trend(last_nights(storage, manifest)),
        reasons=reasons_set_aside(storage, manifest),
        lineage=_lineage(manifest),
    )
    key = report_key(manifest.job, manifest.date)
    metadata = {FINGERPRINT: _identity(manifest)}
    storage.put(key, text.encode(), content_type="text/html; charset=utf-8", metadata=metadata)
    return key


def _identity(manifest: Manifest) -> str:
    return f"{manifest.fingerprint}-{manifest.generation}"


def _metrics(version: ModelVersion) -> Rows:
    names = MODELS[version.name].figures
    rows = [
        (label, f"{version.metrics[name]:.4g}")
        for label, name in names.items()
        if name in version.metrics
    ]
    return [*rows, ("CPU seconds of training", f"{version.metrics['cpu_seconds']:,.0f}")]


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
    """What rows were set aside for, without the figures that differ from row to row."""
    work_prefix = partition_work_prefix(manifest.job, manifest.date)
    prefix = f"{work_prefix}{manifest.fingerprint}/quarantine-"
    counts: Counter[str] = Counter()
    for item in storage.list(prefix):
        for row in read_rows(storage, item.key, columns=["stage", "error"]).to_pylist():
            counts[f"{row['stage']}: {row['error'].partition(':')[0].strip()[:120]}"] += 1
    return counts.most_common(MAX_REASONS)


def _lineage(manifest: Manifest) -> Rows:
    inputs = [
        (f"input {item.key}", f"{item.num_rows:,} rows, ETag {item.etag}")
        for snapshot in snapshots(manifest)
        for item in snapshot.objects[:MAX_REASONS]
    ]
    settings = [(f"setting {name}", str(value)) for name, value in manifest.settings.items()]
    models = [
        pair
        for pin in manifest.model_pins
        for pair in (
            (pin.name, f"{pin.version}, trained on data through {pin.through}"),
            (f"weights of {pin.name}", f"SHA-256 {pin.weights_sha256}"),
        )
    ]
    return [
        ("fingerprint", manifest.fingerprint),
        ("published at", manifest.published_at),
        *models,
        *inputs,
        *settings,
        ("code", manifest.code),
    ]
