from aigc_models.text.markers import learn_markers


def test_words_found_only_in_texts_of_a_key_are_its_markers() -> None:
    texts = [[1, 2, 9], [1, 3, 9], [4, 9], [5, 9]] * 5
    keys = [["business"], ["business"], ["foldable"], []] * 5
    assert learn_markers(texts, keys) == {
        1: "business",
        2: "business",
        3: "business",
        4: "foldable",
    }


def test_a_marker_of_inseparable_keys_gets_the_first_by_name() -> None:
    keys = [f"key {number}" for number in range(40, 9, -1)]
    assert learn_markers([[1], [1]], [keys, keys]) == {1: "key 10"}


def test_rare_words_and_words_of_all_texts_are_not_markers() -> None:
    texts = [[1, 9]] * 19 + [[2, 9]] + [[9]] * 20
    assert learn_markers(texts, [["a"]] * 20 + [[]] * 20) == {1: "a"}
    assert learn_markers([[1], [2]], [[], []]) == {}
