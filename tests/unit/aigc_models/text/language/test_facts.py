from itertools import product

import pytest

from aigc_models.text.language.acts import Segments, Slot, TextExample, TextRequest
from aigc_models.text.language.delexicalisation import delexicalise
from aigc_models.text.language.expression import fit_detector
from aigc_models.text.language.facts import FactChecker, learn_known_values, learn_repeatable_keys
from aigc_models.text.language.schema import Schema, learn_schema, value_label
from aigc_models.text.language.wording import Wording

NAME, SIZE, SECOND_NAME = Slot("name", 1), Slot("size", 1), Slot("name", 2)


def example(i: int) -> TextExample:
    flag = "true" if i % 2 else "false"
    wording = "and stops by itself" if i % 2 else "but never stops"
    name = f"Zeta K{i} Pro"
    return TextExample(
        TextRequest("inform", (("name", name), ("size", f"{i} cm"), ("stops", flag))),
        f"The {name} is a big kettle of {i} cm {wording}.",
    )


EXAMPLES = [example(i) for i in range(20)]


@pytest.fixture(scope="module")
def schema() -> Schema:
    return learn_schema(EXAMPLES)


@pytest.fixture(scope="module")
def checker(schema: Schema) -> FactChecker:
    acts = [schema.act(e.request) for e in EXAMPLES]
    texts = [delexicalise(e.reference, act.slots) for e, act in zip(EXAMPLES, acts, strict=True)]
    detector = fit_detector(texts, [[value_label(token) for token in act.tokens] for act in acts])
    return FactChecker(
        detector, Wording.learn([*texts, GOOD]), learn_known_values(EXAMPLES, texts, schema), []
    )


def problems(
    checker: FactChecker, schema: Schema, text: Segments, *attributes: tuple[str, str | None]
) -> list[str]:
    """Problems of facts only: the wording of these texts is not in the training texts."""
    found = checker.check(schema.act(TextRequest("inform", attributes)), [text])[0]
    return [problem for problem in found if not problem.endswith("is in no training text")]


GIVEN = (("name", "X9"), ("size", "7 cm"), ("stops", "true"))
GOOD: Segments = ("The ", NAME, " is a big kettle of ", SIZE, " and stops by itself.")


def test_references_are_faithful(checker: FactChecker, schema: Schema) -> None:
    for e in EXAMPLES:
        act = schema.act(e.request)
        assert checker.check(act, [delexicalise(e.reference, act.slots)]) == [()]
    assert problems(checker, schema, GOOD, *GIVEN) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (("The ", NAME, " is a kettle and stops by itself."), ["size '7 cm' is missing"]),
        ((*GOOD, " It is ", SIZE, "."), ["size '7 cm' is stated 2 times"]),
        (
            (*GOOD[:-1], " but never stops."),
            ["stops = true is not expressed", "stops = false is expressed but was not given"],
        ),
        ((*GOOD, " It costs 12 euros."), ["number 12 was not given"]),
        (
            (*GOOD, " It beats the zeta k3 pro."),
            ["number 3 was not given", "'zeta k 3 pro' is named but was not given"],
        ),
        ((*GOOD, " and ", SECOND_NAME), ["a value of name is stated that was not given"]),
    ],
)
def test_each_mistake_of_a_text_is_named(
    checker: FactChecker, schema: Schema, text: Segments, expected: list[str]
) -> None:
    assert problems(checker, schema, text, *GIVEN) == expected


def test_a_seam_between_words_is_a_problem(checker: FactChecker, schema: Schema) -> None:
    act = schema.act(TextRequest("inform", GIVEN))
    assert checker.check(
        act, [GOOD, ("The ", NAME, " is a big kettle of and ", SIZE, " and stops by itself.")]
    ) == [
        (),
        tuple(
            f"{run!r} is in no training text" for run in ("of and", "and ⟦size⟧", "of and ⟦size⟧")
        ),
    ]


def test_numbers_of_given_values_are_allowed(checker: FactChecker, schema: Schema) -> None:
    assert problems(checker, schema, (*GOOD, " Yes, 7."), *GIVEN) == []


def test_an_attribute_that_training_never_saw_is_a_problem(
    checker: FactChecker, schema: Schema
) -> None:
    found = problems(checker, schema, GOOD, *GIVEN, ("colour", "red"))
    assert found == ["attribute 'colour' was never seen in training"]


def test_a_value_too_rare_to_learn_its_wording_is_a_problem() -> None:
    examples = [
        *EXAMPLES,
        *(
            TextExample(TextRequest("inform", (("stops", "maybe"),)), "Who knows.")
            for _ in range(3)
        ),
    ]
    schema = learn_schema(examples)
    checker = FactChecker(
        fit_detector([("a",)] * 6, [["stops = true"]] * 6), Wording.learn([]), [], []
    )
    assert "stops = maybe is too rare in training to be checked" in problems(
        checker, schema, ("Who knows.",), ("stops", "maybe")
    )


def test_ordinary_words_are_not_known_values() -> None:
    examples = [TextExample(TextRequest("inform", (("size", "big"),)), "A big kettle.")] * 5
    examples += [
        TextExample(TextRequest("inform", (("size", "small"),)), "A small kettle, in no big way.")
    ] * 5
    schema = learn_schema(examples)
    texts = [delexicalise(e.reference, schema.act(e.request).slots) for e in examples]
    assert learn_known_values(examples, texts, schema) == {"small"}


def test_the_same_of_several_spellings_is_known_every_time() -> None:
    spellings = ["".join(letters) for letters in product(*zip("kettle", "KETTLE", strict=True))]
    examples = [
        TextExample(TextRequest("inform", (("name", name),)), f"A {name} boils.")
        for name in spellings
    ]
    schema = learn_schema(examples)
    texts = [delexicalise(e.reference, schema.act(e.request).slots) for e in examples]
    assert learn_known_values(examples, texts, schema) == {max(spellings)}


def test_keys_that_references_repeat_may_be_repeated(schema: Schema) -> None:
    assert learn_repeatable_keys([(NAME, " ", NAME, SIZE)] * 2 + [(NAME, SIZE)] * 3) == {"name"}
    text: Segments = (NAME, " or ", NAME)
    checker = FactChecker(fit_detector([], []), Wording.learn([text]), [], ["name"])
    assert problems(checker, schema, text, ("name", "X9")) == []
