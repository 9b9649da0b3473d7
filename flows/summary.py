"""A partition in words and figures, for the run's page and the terminal."""

from typing import Any

MAX_TEXT_CHARS = 300


def figures(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """The partition's key figures as rows of a table."""
    counts, quality = manifest["counts"], manifest["quality"]
    rate = counts["input_rows"] / manifest["seconds"] if manifest["seconds"] else 0.0
    rows = {
        "rows published": f"{counts['accepted']:,}",
        "rows rejected by checks": f"{counts['rejected']:,}",
        "rows quarantined": f"{counts['quarantined']:,}",
        "rows from the future, left out": f"{counts['future']:,}",
        "share passed": f"{quality['passed_share']:.1%}",
        "share of duplicates": f"{quality['duplicate_share']:.1%}",
        "distinct-2": f"{quality['distinct_2']:.3f}",
        "mean length, words": f"{quality['mean_length']:.1f}",
        "seconds": f"{manifest['seconds']:.1f}",
        "rows per second": f"{rate:.1f}",
        "model": manifest["model"]["version"],
        "attempts at rows set aside": f"{manifest['attempts']:,}",
        "parts": f"{len(manifest['parts']):,}",
        "fingerprint": manifest["fingerprint"],
    }
    return [{"figure": name, "value": value} for name, value in rows.items()]


def markdown_summary(manifest: dict[str, Any], samples: list[dict[str, Any]]) -> str:
    """Figures and sample texts as Markdown; what comes from data is escaped."""
    lines = [f"# {manifest['job']} · {manifest['date']}", "", "| figure | value |", "|---|---|"]
    lines += [f"| {row['figure']} | {escape(row['value'])} |" for row in figures(manifest)]
    lines += ["", "## Samples", ""]
    lines += [f"- {escape(row['text'][:MAX_TEXT_CHARS])}" for row in samples]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text from data as Markdown that shows just these characters: no markup, no links, no HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return "".join(f"\\{char}" if char in "\\`*_{}[]()#+!|~" else char for char in escaped)
