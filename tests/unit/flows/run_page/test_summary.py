from flows.run_page.summary import escape, markdown_links, markdown_summary
from tests.support.manifests import MANIFEST, a_manifest
from workers.partitions.manifest import PublishedPart


def test_markup_in_data_stays_text() -> None:
    assert escape("<script>alert(1)</script>") == "&lt;script&gt;alert\\(1\\)&lt;/script&gt;"
    assert escape("[a](http://b) **c**\n# d") == "\\[a\\]\\(http://b\\) \\*\\*c\\*\\* \\# d"


def test_the_summary_shows_figures_and_samples() -> None:
    summary = markdown_summary(MANIFEST, [{"text": "The Larch 85 is a <b>bicycle</b>."}])
    assert "| rows published | 1,234 |" in summary
    assert "| rows per second | 123.9 |" in summary
    assert "| actor seconds lost | 1.5 |" in summary
    assert "- The Larch 85 is a &lt;b&gt;bicycle&lt;/b&gt;." in summary


def test_the_summary_names_the_failed_gates_that_were_ignored() -> None:
    breaches = ("distinct_2 is 0, the limit is 0.1", "x")
    summary = markdown_summary(a_manifest(breaches=breaches), [])
    assert "| failed gates, ignored | distinct\\_2 is 0, the limit is 0.1; x |" in summary
    assert "failed gates, ignored" not in markdown_summary(MANIFEST, [])


def test_rows_are_linked_part_by_part_up_to_ten() -> None:
    parts = tuple(
        PublishedPart(
            key=f"outputs/j/part-{number}.parquet", rows=number, size_bytes=1, sha256="0" * 64
        )
        for number in range(13)
    )
    text = markdown_links(
        a_manifest(job="j", parts=parts), lambda key: f"https://store/{key}?signed"
    )
    assert text.count("?signed)") == 10
    assert (
        "[outputs/j/part-1.parquet](https://store/outputs/j/part-1.parquet?signed): 1 rows" in text
    )
    assert "and 2 more" in text
    assert "nightshift export j --date 2026-11-22" in text
