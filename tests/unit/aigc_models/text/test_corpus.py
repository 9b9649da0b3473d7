import pytest

from aigc_models.text.corpus import NoExamplesError, act_share, build_corpus, sentences
from aigc_models.text.language.acts import Slot, TextExample, TextRequest

NAME, SIZE, COLOUR = Slot("name", 1), Slot("size", 1), Slot("colour", 1)


def example(i: int, text: str) -> TextExample:
    attributes = (
        ("name", f"Kettle{i}"),
        ("size", f"{i}.5 cm"),
        ("colour", "red" if i % 2 else "blue"),
    )
    return TextExample(
        TextRequest("inform", attributes), text.format(*(value for _, value in attributes))
    )


EXAMPLES = [example(i, "The {0} is {2}. It measures {1}.") for i in range(60)]
EXAMPLES += [example(i, "The {0} is {1} wide.") for i in range(60)]


def test_acts_lose_what_their_reference_does_not_state() -> None:
    corpus = build_corpus(EXAMPLES, 0.2)
    wide = [text for text in corpus.training if " wide." in text.text]
    assert wide
    assert all([slot for slot, _ in text.act.slots] == [NAME, SIZE] for text in wide)
    assert all(len(text.act.symbols) == 3 for text in wide)


def test_later_sentences_become_continued_examples() -> None:
    corpus = build_corpus(EXAMPLES, 0.2)
    continued = [text for text in corpus.training if text.request.continued]
    assert len(continued) == corpus.schema.intents["inform"].num_continued > 30
    assert {text.text for text in continued} == {("It measures ", SIZE, ".")}
    assert {tuple(slot for slot, _ in text.act.slots) for text in continued} == {(SIZE,)}


def test_later_sentences_with_unusual_openings_are_dropped() -> None:
    corpus = build_corpus([*EXAMPLES * 3, example(3, "The {0} is {2}. With {1}.")], 0.2)
    assert {text.text[0] for text in corpus.training if text.request.continued} == {"It measures "}


def test_references_with_numbers_that_their_act_lacks_are_dropped() -> None:
    corpus = build_corpus([*EXAMPLES, example(1, "The {0} has 3 handles.")], 0.2)
    assert corpus.num_dropped == 1
    assert not any("handles" in str(text.text) for text in (*corpus.training, *corpus.validation))


def test_equal_acts_are_never_on_both_sides_of_the_split() -> None:
    corpus = build_corpus(EXAMPLES, 0.2)
    training = {text.request.attributes for text in corpus.training}
    assert training.isdisjoint(text.request.attributes for text in corpus.validation)
    assert len(corpus.validation) > 5


def test_the_side_of_an_act_does_not_depend_on_other_examples() -> None:
    assert act_share(EXAMPLES[0].request) == act_share(EXAMPLES[60].request)
    some = build_corpus(EXAMPLES[:50], 0.2)
    everything = build_corpus(EXAMPLES, 0.2)
    assert {t.request for t in some.validation} <= {t.request for t in everything.validation}


def test_head_keys_come_from_what_texts_state() -> None:
    use = build_corpus(EXAMPLES, 0.2).schema.intents["inform"]
    assert use.head_keys == ("name", "size")


def test_sentences_end_where_a_space_follows_their_mark() -> None:
    assert sentences(("The ", NAME, " is 1.5 wide. It is ", COLOUR, "! ", SIZE)) == [
        ("The ", NAME, " is 1.5 wide."),
        ("It is ", COLOUR, "!"),
        (SIZE,),
    ]
    assert sentences((NAME, " is red . it is big")) == [(NAME, " is red ."), ("it is big",)]


def test_too_few_examples_are_an_error_with_a_reason() -> None:
    with pytest.raises(NoExamplesError, match="2 examples give"):
        build_corpus(EXAMPLES[:2], 0.2)
