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
    counts = manifest.counts
    rows = {
        "rows published": f"{counts.accepted:,}",
        "rows rejected by checks": f"{counts.rejected:,}",
        "rows quarantined": f"{counts.quarantined:,}",
        "rows from the future, left out": f"{counts.future:,}",
    }
    for name, value in manifest.quality.items():
        label, style = FIGURES.get(name, (name, ".3g"))
        rows[label] = format(value, style)
    if manifest.breaches:
        rows["failed gates, ignored"] = "; ".join(manifest.breaches)
    rows["seconds"] = f"{manifest.seconds:.1f}"
    rows["actor seconds"] = f"{manifest.actor_seconds:.1f}"
    rows["actor seconds lost"] = f"{manifest.wasted_seconds:.1f}"
    rows["rows per second"] = f"{manifest.rows_per_second:.1f}"
    for pin in manifest.model_pins:
        rows[pin.name] = pin.version
    rows["attempts for rows set aside"] = f"{manifest.attempts:,}"
    rows["parts"] = f"{len(manifest.parts):,}"
    rows["fingerprint"] = manifest.fingerprint
    if manifest.prepared:
        for name, number in manifest.prepared.summary["counts"].items():
            rows[name] = f"{number:,}"
    return [{"figure": name, "value": value} for name, value in rows.items()]


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
    lines = [f"# {plan.job} · {plan.date} is held back", ""]
    lines += [f"- {escape(reason)}" for reason in reasons]
    lines += ["", how_to_publish(plan.job, plan.date, plan.fingerprint)]
    return "\n".join(lines)


def markdown_links(manifest: Manifest, presign: Callable[[str], str]) -> str:
    """Links to the first parts, which expire, and the command that downloads all rows."""
    parts = [part for part in manifest.parts if part.rows]
    lines = [f"# Rows of {manifest.job} · {manifest.date}", ""]
    lines += [
        f"- [{part.key}]({presign(part.key)}): {part.rows:,} rows" for part in parts[:MAX_LINKS]
    ]
    if len(parts) > MAX_LINKS:
        lines.append(f"- and {len(parts) - MAX_LINKS:,} more")
    command = f"nightshift export {manifest.job} --date {manifest.date} --to rows"
    lines += ["", f"All of them: `{command}`"]
    return "\n".join(lines)


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
