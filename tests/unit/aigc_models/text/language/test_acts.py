from aigc_models.text.language.acts import Slot, TextRequest


def test_requests_compare_and_slots_sort_by_value() -> None:
    assert TextRequest("inform", (("name", "x"),)) == TextRequest("inform", (("name", "x"),))
    assert sorted([Slot("b", 1), Slot("a", 2), Slot("a", 1)]) == [
        Slot("a", 1),
        Slot("a", 2),
        Slot("b", 1),
    ]
