from aigc_models.text.language.acts import Segments, Slot
from aigc_models.text.language.wording import Wording

NAME, SIZE = Slot("name", 1), Slot("size", 1)
TEXTS: list[Segments] = [("The ", NAME, " holds ", SIZE, " l."), (NAME, " is red.")]


def test_texts_of_training_have_no_seams() -> None:
    wording = Wording.learn(TEXTS)
    assert [wording.unseen(text) for text in TEXTS] == [[], []]


def test_known_pairs_may_be_combined() -> None:
    assert Wording.learn(TEXTS).unseen(("The ", Slot("name", 2), " is red.")) == []


def test_words_that_were_never_neighbours_are_named() -> None:
    wording = Wording.learn(TEXTS)
    assert wording.unseen(("The ", NAME, " holds l.")) == ["holds l"]
    assert wording.unseen(("The ", NAME)) == ["⟦name⟧ ⟦end⟧"]


def test_a_value_in_a_wrong_place_is_named() -> None:
    wording = Wording.learn([("a height of ", SIZE, "."), ("the price of ", NAME, ".")])
    assert wording.unseen(("a height of ", NAME, ".")) == ["height of ⟦name⟧"]


def test_a_missing_slot_after_an_announcing_pair_is_named() -> None:
    wording = Wording.learn([("a water column of ", SIZE, "."), ("full of power.",)])
    assert wording.unseen(("a water column of power.",)) == ["column of power"]


def test_pairs_that_words_may_follow_announce_nothing() -> None:
    wording = Wording.learn(
        [("a column of ", SIZE, "."), ("a column of stone.",), ("the age of steam.",)]
    )
    assert wording.unseen(("a column of steam.",)) == []


def test_wording_can_be_stored_as_a_tensor() -> None:
    runs = Wording.learn(TEXTS).runs_L
    assert Wording(runs).unseen(TEXTS[0]) == []
    assert Wording.learn(TEXTS[::-1]).runs_L.equal(runs)
