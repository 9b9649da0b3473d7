from aigc_models.text.language.acts import Segments, Slot
from aigc_models.text.language.wording import Wording

NAME, SIZE = Slot("name", 1), Slot("size", 1)
TEXTS: list[Segments] = [("The ", NAME, " holds ", SIZE, " l."), (NAME, " is red.")]


def test_texts_of_training_have_no_seams() -> None:
    wording = Wording.learn(TEXTS)
    assert [wording.unseen(text) for text in TEXTS] == [[], []]


def test_pairs_from_different_texts_may_meet() -> None:
    assert Wording.learn(TEXTS).unseen(("The ", Slot("name", 2), " is red.")) == []


def test_words_that_never_stood_side_by_side_are_named() -> None:
    wording = Wording.learn(TEXTS)
    assert wording.unseen(("The ", NAME, " holds l.")) == ["holds l"]
    assert wording.unseen(("The ", NAME)) == ["⟦name⟧ ⟦end⟧"]


def test_a_value_in_the_place_of_another_is_named() -> None:
    wording = Wording.learn([("a height of ", SIZE, "."), ("the price of ", NAME, ".")])
    assert wording.unseen(("a height of ", NAME, ".")) == ["height of ⟦name⟧"]


def test_words_that_announce_a_value_which_does_not_follow_are_named() -> None:
    wording = Wording.learn([("a water column of ", SIZE, "."), ("full of power.",)])
    assert wording.unseen(("a water column of power.",)) == ["column of power"]


def test_words_before_which_training_has_other_words_too_announce_nothing() -> None:
    wording = Wording.learn(
        [("a column of ", SIZE, "."), ("a column of stone.",), ("the age of steam.",)]
    )
    assert wording.unseen(("a column of steam.",)) == []


def test_wording_survives_being_a_tensor() -> None:
    runs = Wording.learn(TEXTS).runs_L
    assert Wording(runs).unseen(TEXTS[0]) == []
    assert Wording.learn(TEXTS[::-1]).runs_L.equal(runs)
