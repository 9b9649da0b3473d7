"""From examples to what a text model learns from: delexicalised texts beside their acts, split for
validation.

What a reference leaves unsaid is left out of its act, so that the model learns to say all it is
given. References with numbers that their act does not give are left out, or the model would learn
to invent them.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from aigc_models.text.language.acts import Segments, Slot, TextExample, TextRequest
from aigc_models.text.language.delexicalisation import delexicalise, stated
from aigc_models.text.language.expression import ExpressionDetector, fit_detector
from aigc_models.text.language.facts import (
    EXPRESSED,
    FactChecker,
    learn_known_values,
    learn_repeatable_keys,
    literal_numbers,
)
from aigc_models.text.language.schema import (
    CONTINUED,
    HEAD_SHARE,
    Act,
    IntentUse,
    Schema,
    intent_use,
    learn_schema,
    percentile,
    value_label,
)
from aigc_models.text.language.wording import Wording
from aigc_models.text.language.words import NUMBER
from aigc_models.text.language.written_form import is_tokenised

MIN_OPENING_SHARE = 0.04
"""Share of later sentences that must begin with a word for it to be a usual opening."""
SENTENCE_END = re.compile(r"\s*[.!?]+\s+")


class NoExamplesError(ValueError):
    """Nothing is left to train on."""


@dataclass(frozen=True, slots=True)
class TrainingText:
    request: TextRequest
    act: Act
    text: Segments


@dataclass(frozen=True, slots=True)
class Corpus:
    schema: Schema
    checker: FactChecker
    is_tokenised: bool
    training: tuple[TrainingText, ...]
    validation: tuple[TrainingText, ...]
    num_dropped: int
    """Examples whose reference has a number that its act does not give, or no text."""


def build_corpus(examples: Sequence[TextExample], validation_share: float) -> Corpus:
    """Examples of equal acts stay together; which acts validate depends on the act alone, not on
    the other examples."""
    tokenised = is_tokenised([example.reference for example in examples])
    schema = learn_schema(examples)
    texts = [training_text(example, schema, tokenised) for example in examples]
    usable = [text for text in texts if text.text and not unsupported_numbers(text)]
    training, validation = split_for_validation(usable, validation_share)
    if not training or not validation:
        raise NoExamplesError(
            f"{len(examples)} examples give {len(training)} to train on and {len(validation)} to validate on; "
            "both are needed (examples whose text has numbers that the attributes lack are left out)"
        )
    detector = fit_detector(
        [text.text for text in training],
        [[value_label(token) for token in text.act.tokens] for text in training],
    )
    further = continuations(training, detector)
    checker = FactChecker(
        detector,
        Wording.learn([text.text for text in (*training, *further)]),
        learn_known_values(examples, [text.text for text in texts], schema),
        learn_repeatable_keys([text.text for text in training]),
    )
    return Corpus(
        Schema(schema.keys, intent_uses(training, further)),
        checker,
        tokenised,
        (*map(without_unstated, training), *further),
        tuple(validation),
        len(texts) - len(usable),
    )


def split_for_validation(
    texts: Sequence[TrainingText], share: float
) -> tuple[list[TrainingText], list[TrainingText]]:
    """Whole acts are held out, but no intent altogether: of one that has a single act, all texts
    are trained on."""
    trained_intents = {text.request.intent for text in texts if act_share(text.request) >= share}

    def is_held_out(text: TrainingText) -> bool:
        return act_share(text.request) < share and text.request.intent in trained_intents

    return [text for text in texts if not is_held_out(text)], [
        text for text in texts if is_held_out(text)
    ]


def training_text(example: TextExample, schema: Schema, tokenised: bool) -> TrainingText:
    reference = " ".join(example.reference.split())
    if tokenised:
        reference = reference.removesuffix(" .")
    act = schema.act(example.request)
    return TrainingText(example.request, act, delexicalise(reference, act.slots))


def unsupported_numbers(text: TrainingText) -> bool:
    given = {number for _, value in text.act.slots for number in NUMBER.findall(value)}
    return not given.issuperset(literal_numbers(text.text))


def act_share(request: TextRequest) -> float:
    """A number in [0, 1) that is the same for equal acts."""
    digest = hashlib.sha256(repr((request.intent, request.attributes)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def without_unstated(text: TrainingText) -> TrainingText:
    found = set(stated(text.text))
    return replace(
        text, act=text.act.without([slot for slot, _ in text.act.slots if slot not in found])
    )


def continuations(
    texts: Sequence[TrainingText], detector: ExpressionDetector
) -> list[TrainingText]:
    """Later sentences that speak of the subject without naming it, as examples of their own."""
    subject_keys = learn_subject_keys(texts)
    candidates = []
    for text in texts:
        first, *later = sentences(text.text)
        keys = subject_keys[text.request.intent]
        if keys.intersection(slot.key for slot in stated(first)):
            candidates += [(text, sentence) for sentence in later if may_continue(sentence, keys)]
    found = []
    expressed = detector.probabilities([sentence for _, sentence in candidates])
    for (text, sentence), probabilities in zip(candidates, expressed, strict=True):
        labels = {label for label, probability in probabilities.items() if probability >= EXPRESSED}
        if (labels or stated(sentence)) and labels <= {
            value_label(token) for token in text.act.tokens
        }:
            found.append(continuation(text, sentence, labels))
    return with_usual_openings(found)


def with_usual_openings(texts: Sequence[TrainingText]) -> list[TrainingText]:
    """Those that begin as many others do ("It has ..."); the rest are often no sentences ("with 4
    gb")."""
    openings = [str(text.text[0]).split()[0] for text in texts]
    counts = Counter(openings)
    return [
        text
        for text, word in zip(texts, openings, strict=True)
        if counts[word] >= MIN_OPENING_SHARE * len(texts)
    ]


def learn_subject_keys(texts: Sequence[TrainingText]) -> dict[str, set[str]]:
    """For each intent the keys that the first sentence states in most of its texts: those that name
    the subject."""
    num_texts = Counter(text.request.intent for text in texts)
    num_first: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        num_first[text.request.intent].update(
            {slot.key for slot in stated(sentences(text.text)[0])}
        )
    return {
        intent: {
            key
            for key, count in num_first[intent].items()
            if count >= HEAD_SHARE * num_texts[intent]
        }
        for intent in num_texts
    }


def may_continue(sentence: Segments, subject_keys: Collection[str]) -> bool:
    """Whether it can follow any sentence that names the subject: it begins with a word and states
    facts once."""
    slots = stated(sentence)
    is_plain = len(set(slots)) == len(slots) and all(slot.number == 1 for slot in slots)
    is_unnamed = not any(slot.key in subject_keys for slot in slots)
    return is_plain and is_unnamed and isinstance(sentence[0], str) and sentence[0][:1].isalpha()


def continuation(text: TrainingText, sentence: Segments, labels: Collection[str]) -> TrainingText:
    act = text.act.without(
        [slot for slot, _ in text.act.slots if slot not in stated(sentence)],
        [token for token in text.act.tokens if value_label(token) not in labels],
    )
    intent, *symbols = act.symbols
    act = replace(act, symbols=(intent, CONTINUED, *symbols))
    return TrainingText(replace(text.request, continued=True), act, sentence)


def sentences(text: Segments) -> list[Segments]:
    """The text cut after full stops, question and exclamation marks that a space follows; the marks
    stay."""
    found: list[list[str | Slot]] = [[]]
    for segment in text:
        if isinstance(segment, Slot):
            found[-1].append(segment)
            continue
        position = 0
        for match in SENTENCE_END.finditer(segment):
            found[-1].append(segment[position : match.end()].rstrip())
            found.append([])
            position = match.end()
        if segment[position:]:
            found[-1].append(segment[position:])
    return [tuple(sentence) for sentence in found if sentence]


def intent_uses(
    texts: Sequence[TrainingText], further: Sequence[TrainingText]
) -> dict[str, IntentUse]:
    keys: dict[str, list[list[str]]] = defaultdict(list)
    values: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        keys[text.request.intent].append(stated_keys(text))
        values[text.request.intent] |= {value_label(token) for token in text.act.tokens}
    continued: dict[str, list[int]] = defaultdict(list)
    for text in further:
        continued[text.request.intent].append(len(text.act.slots) + len(text.act.tokens))
    return {
        intent: replace(
            intent_use(rows),
            values=frozenset(values[intent]),
            num_continued=len(continued[intent]),
            continued_facts=percentile(continued[intent], 0.9) if continued[intent] else 1,
        )
        for intent, rows in keys.items()
    }


def stated_keys(text: TrainingText) -> list[str]:
    found = set(stated(text.text))
    unstated = {slot.key for slot, _ in text.act.slots if slot not in found}
    return [key for key, _ in text.request.attributes if key not in unstated]
