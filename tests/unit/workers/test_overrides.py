import pytest

from infra.errors import InputError
from workers.overrides import override, parse_assignments
from workers.text_rows import TextSettings


def test_texts_become_the_types_of_their_fields() -> None:
    settings = override(TextSettings(), {"temperature": "0.7", "seed": "3"}, "job x")
    assert (settings.temperature, settings.seed, settings.batch_rows) == (
        0.7,
        3,
        TextSettings().batch_rows,
    )


def test_the_rules_of_the_dataclass_hold_for_overrides_too() -> None:
    with pytest.raises(InputError, match=r"job x: .*batch_rows"):
        override(TextSettings(), {"batch_rows": "0"}, "job x")


def test_an_assignment_without_equals_sign_is_refused() -> None:
    with pytest.raises(InputError, match="setting 'temperature': expected key=value"):
        parse_assignments(["temperature"])
