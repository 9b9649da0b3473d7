"""A partition in words and figures, for the run's page and the terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workers.partitions.manifest import Manifest
from workers.plans.plan import Plan, partition_work_prefix
from workers.quality.gates import FIGURES

MAX_TEXT_CHARS = 300
MAX_LINKS = 10


def figures(manifest: Manifest) -> list[dict[str, str]]:
    """The partition's key figures as rows of a table."""
    counts, quality = manifest.counts, manifest.quality
    found = manifest.prepared.summary["counts"] if manifest.prepared else {}
    rows = {
        "rows published": f"{counts.accepted:,}",
        "rows rejected by checks": f"{counts.rejected:,}",
        "rows quarantined": f"{counts.quarantined:,}",
        "rows from the future, left out": f"{counts.future:,}",
        **{
            FIGURES.get(name, (name, ".3g"))[0]: _show(name, value)
            for name, value in quality.items()
        },
        **({"published though": "; ".join(manifest.breaches)} if manifest.breaches else {}),
        "seconds": f"{manifest.seconds:.1f}",
        "seconds of actors": f"{manifest.actor_seconds:.1f}",
        "seconds of actors that were lost": f"{manifest.wasted_seconds:.1f}",
        "rows per second": f"{manifest.rows_per_second:.1f}",
        **{pin.name: pin.version for pin in manifest.model_pins},
        "attempts at rows set aside": f"{manifest.attempts:,}",
        "parts": f"{len(manifest.parts):,}",
        "fingerprint": manifest.fingerprint,
        **{name: f"{number:,}" for name, number in found.items()},
    }
    return [{"figure": name, "value": value} for name, value in rows.items()]


def _show(name: str, value: float) -> str:
    return format(value, FIGURES[name][1] if name in FIGURES else ".3g")


def describe_row(row: Mapping[str, Any]) -> str:
    """A published row for people: its text, or its class and size."""
    if "text" in row:
        return row["text"][:MAX_TEXT_CHARS]
    return f"{row['label_name']}, PNG of {len(row['image']['bytes']):,} bytes"


def markdown_summary(manifest: Manifest, samples: list[dict[str, Any]]) -> str:
    """Figures and samples as Markdown; text from data is escaped."""
    lines = [f"# {manifest.job} · {manifest.date}", "", "| figure | value |", "|---|---|"]
    lines += [f"| {row['figure']} | {escape(row['value'])} |" for row in figures(manifest)]
    lines += ["", "## Samples", ""]
    lines += [f"- {escape(describe_row(row))}" for row in samples]
    return "\n".join(lines)


def markdown_held(plan: Plan, reasons: Sequence[str]) -> str:
    """Why the partition is held back, and what to do about it, as Markdown."""
    lines = [
        f"# {plan.job} · {plan.date} is held back",
        "",
        *(f"- {escape(reason)}" for reason in reasons),
    ]
    return "\n".join([*lines, "", how_to_publish(plan.job, plan.date, plan.fingerprint)])


def markdown_links(manifest: Manifest, presign: Callable[[str], str]) -> str:
    """Links to the first parts, which expire, and the command that downloads all rows."""
    parts = [part for part in manifest.parts if part.rows]
    shown = [
        f"- [{each.key}]({presign(each.key)}): {each.rows:,} rows" for each in parts[:MAX_LINKS]
    ]
    rest = [f"- and {len(parts) - MAX_LINKS:,} more"] if len(parts) > MAX_LINKS else []
    command = f"`nightshift export {manifest.job} --date {manifest.date} --to rows`"
    return "\n".join(
        [
            f"# Rows of {manifest.job} · {manifest.date}",
            "",
            *shown,
            *rest,
            "",
            f"All of them: {command}",
        ]
    )


def how_to_publish(job: str, date: str, fingerprint: str) -> str:
    """What to do about a partition that a gate holds back."""
    parts = f"{partition_work_prefix(job, date)}{fingerprint}/part-*.parquet"
    return (
        f"The rows are kept in {parts}. Fix the cause and run the date again, or publish these "
        f"rows: `nightshift run {job} --date {date} --ignore-gates` with the same settings"
    )


def escape(text: str) -> str:
    """Escapes text from data: the Markdown shows exactly these characters."""
    escaped = (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    )
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+!|~" else char for char in escaped)
