from flows.run_page.summary import escape, markdown_links, markdown_summary

MANIFEST = {
    "job": "product_descriptions",
    "date": "2026-11-22",
    "counts": {"accepted": 1234, "rejected": 5, "quarantined": 0, "future": 0, "input_rows": 1239},
    "quality": {
        "passed_share": 0.996,
        "duplicate_share": 0.0,
        "distinct_2": 0.31,
        "mean_length": 21.5,
    },
    "seconds": 10.0,
    "actor_seconds": 8.0,
    "wasted_seconds": 1.5,
    "attempts": 1,
    "model": {"name": "copywriter", "version": "2026-11-22-gpt-00000000"},
    "prepared": None,
    "parts": [{}],
    "fingerprint": "0123456789abcdef",
}


def test_markup_in_data_stays_text() -> None:
    assert escape("<script>alert(1)</script>") == "&lt;script&gt;alert\\(1\\)&lt;/script&gt;"
    assert escape("[a](http://b) **c**\n# d") == "\\[a\\]\\(http://b\\) \\*\\*c\\*\\* \\# d"


def test_the_summary_tells_figures_and_samples() -> None:
    summary = markdown_summary(MANIFEST, [{"text": "The Larch 85 is a <b>bicycle</b>."}])
    assert "| rows published | 1,234 |" in summary
    assert "| rows per second | 123.9 |" in summary
    assert "| seconds of actors that were lost | 1.5 |" in summary
    assert "- The Larch 85 is a &lt;b&gt;bicycle&lt;/b&gt;." in summary


def test_what_was_published_in_spite_of_a_gate_says_so() -> None:
    summary = markdown_summary(
        MANIFEST | {"breaches": ["distinct_2 is 0, the limit is 0.1", "x"]}, []
    )
    assert "| published though | distinct\\_2 is 0, the limit is 0.1; x |" in summary
    assert "published though" not in markdown_summary(MANIFEST | {"breaches": []}, [])


def test_rows_are_linked_part_by_part_up_to_ten() -> None:
    parts = [{"key": f"outputs/j/part-{number}.parquet", "rows": number} for number in range(13)]
    text = markdown_links(
        {"job": "j", "date": "2026-11-22", "parts": parts},
        lambda key: f"https://store/{key}?signed",
    )
    assert text.count("?signed)") == 10
    assert (
        "[outputs/j/part-1.parquet](https://store/outputs/j/part-1.parquet?signed): 1 rows" in text
    )
    assert "and 2 more" in text
    assert "nightshift export j --date 2026-11-22" in text
