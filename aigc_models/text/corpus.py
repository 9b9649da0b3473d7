"""Turns examples into the training material of a text model: delexicalised texts with their acts,
split into training and validation.

Attributes that a reference does not state are removed from its act, so that the model learns to
state all it is given. References with numbers that their act lacks are dropped, so that the model
does not learn to invent numbers.
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
"""A word is a usual opening if at least this share of later sentences begin with it."""
SENTENCE_END = re.compile(r"\s*[.!?]+\s+")


class NoExamplesError(ValueError):
    """There is nothing to train or to validate on."""


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
    """Examples whose reference is empty or has a number that its act lacks."""


def build_corpus(examples: Sequence[TextExample], validation_share: float) -> Corpus:
    """Learns from the examples what their texts can state, and splits them by `act_share`.

    The side of an act depends on the act alone, not on the other examples.
    """
    tokenised = is_tokenised([example.reference for example in examples])
    schema = learn_schema(examples)
    texts = [training_text(example, schema, tokenised) for example in examples]
    usable = [text for text in texts if text.text and not unsupported_numbers(text)]
    training, validation = split_for_validation(usable, validation_share)
    if not training or not validation:
        raise NoExamplesError(
            f"{len(examples)} examples give {len(training)} to train on and {len(validation)} "
            "to validate on; both are needed (examples whose text has numbers that the attributes "
            "lack are left out)"
        )
    # The order matters from here on: the detector finds the continuations, continuations are part
    # of the wording, and intent uses compare acts with texts, so acts keep what their text does
    # not state until the end.
    detector = fit_detector(
        [text.text for text in training],
        [[value_label(token) for token in text.act.tokens] for text in training],
    )
    continued = continuations(training, detector)
    checker = FactChecker(
        detector,
        Wording.learn([text.text for text in (*training, *continued)]),
        learn_known_values(examples, [text.text for text in texts], schema),
        learn_repeatable_keys([text.text for text in training]),
    )
    intents = intent_uses(training, continued)
    return Corpus(
        schema=Schema(schema.keys, intents),
        checker=checker,
        is_tokenised=tokenised,
        training=(*map(without_unstated, training), *continued),
        validation=tuple(validation),
        num_dropped=len(texts) - len(usable),
    )


def split_for_validation(
    texts: Sequence[TrainingText], share: float
) -> tuple[list[TrainingText], list[TrainingText]]:
    """Training and validation texts. Holds out whole acts, but never all acts of an intent."""
    trained_intents = {text.request.intent for text in texts if act_share(text.request) >= share}
    training, validation = [], []
    for text in texts:
        is_held_out = act_share(text.request) < share and text.request.intent in trained_intents
        if is_held_out:
            validation.append(text)
        else:
            training.append(text)
    return training, validation


def training_text(example: TextExample, schema: Schema, tokenised: bool) -> TrainingText:
    """An example with the values of its act replaced by slots."""
    reference = " ".join(example.reference.split())
    if tokenised:
        reference = reference.removesuffix(" .")
    act = schema.act(example.request)
    return TrainingText(example.request, act, delexicalise(reference, act.slots))


def unsupported_numbers(text: TrainingText) -> bool:
    """Whether the text has a number that no value of its act has."""
    given = {number for _, value in text.act.slots for number in NUMBER.findall(value)}
    return not given.issuperset(literal_numbers(text.text))


def act_share(request: TextRequest) -> float:
    """A hash in [0, 1) of the act: validation takes the acts below its share."""
    digest = hashlib.sha256(repr((request.intent, request.attributes)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def without_unstated(text: TrainingText) -> TrainingText:
    """The same text with an act of only the slots that it states."""
    found = set(stated(text.text))
    unstated = [slot for slot, _ in text.act.slots if slot not in found]
    return replace(text, act=text.act.without(unstated))


def continuations(
    texts: Sequence[TrainingText], detector: ExpressionDetector
) -> list[TrainingText]:
    """Later sentences that describe the subject without naming it, as separate examples."""
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
        given = {value_label(token) for token in text.act.tokens}
        states_a_fact = bool(labels or stated(sentence))
        if states_a_fact and labels <= given:
            found.append(continuation(text, sentence, labels))
    return with_usual_openings(found)


def with_usual_openings(texts: Sequence[TrainingText]) -> list[TrainingText]:
    """Those that begin with a frequent word ("It has ..."); others are often not sentences ("with 4
    gb")."""
    openings = [str(text.text[0]).split()[0] for text in texts]
    counts = Counter(openings)
    return [
        text
        for text, word in zip(texts, openings, strict=True)
        if counts[word] >= MIN_OPENING_SHARE * len(texts)
    ]


def learn_subject_keys(texts: Sequence[TrainingText]) -> dict[str, set[str]]:
    """For each intent the keys that name the subject: most of its texts state them in their first
    sentence."""
    num_texts = Counter(text.request.intent for text in texts)
    num_first: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        first = sentences(text.text)[0]
        num_first[text.request.intent].update({slot.key for slot in stated(first)})
    subject_keys = {}
    for intent, total in num_texts.items():
        counts = num_first[intent]
        subject_keys[intent] = {key for key, n in counts.items() if n >= HEAD_SHARE * total}
    return subject_keys


def may_continue(sentence: Segments, subject_keys: Collection[str]) -> bool:
    """Whether the sentence can follow one that names the subject: it begins with a word, does not
    name the subject and states each fact once."""
    slots = stated(sentence)
    states_once = len(set(slots)) == len(slots) and all(slot.number == 1 for slot in slots)
    names_subject = any(slot.key in subject_keys for slot in slots)
    first = sentence[0]
    begins_with_word = isinstance(first, str) and first[:1].isalpha()
    return states_once and not names_subject and begins_with_word


def continuation(text: TrainingText, sentence: Segments, labels: Collection[str]) -> TrainingText:
    """A later sentence with an act of what it states: its slots, and the values with `labels`."""
    act = text.act.without(
        [slot for slot, _ in text.act.slots if slot not in stated(sentence)],
        [token for token in text.act.tokens if value_label(token) not in labels],
    )
    intent, *symbols = act.symbols
    act = replace(act, symbols=(intent, CONTINUED, *symbols))
    return TrainingText(replace(text.request, continued=True), act, sentence)


def sentences(text: Segments) -> list[Segments]:
    """The text split after each full stop, question or exclamation mark that a space follows; the
    marks are kept."""
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
    texts: Sequence[TrainingText], continued: Sequence[TrainingText]
) -> dict[str, IntentUse]:
    """What the texts of each intent state; acts must still have the slots that texts leave out."""
    keys: dict[str, list[list[str]]] = defaultdict(list)
    values: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        keys[text.request.intent].append(stated_keys(text))
        values[text.request.intent] |= {value_label(token) for token in text.act.tokens}
    num_facts: dict[str, list[int]] = defaultdict(list)
    for text in continued:
        num_facts[text.request.intent].append(len(text.act.slots) + len(text.act.tokens))
    return {
        intent: replace(
            intent_use(rows),
            values=frozenset(values[intent]),
            num_continued=len(num_facts[intent]),
            continued_facts=percentile(num_facts[intent], 0.9) if num_facts[intent] else 1,
        )
        for intent, rows in keys.items()
    }


def stated_keys(text: TrainingText) -> list[str]:
    """The keys of the request, without those of slots that the text leaves out."""
    found = set(stated(text.text))
    unstated = {slot.key for slot, _ in text.act.slots if slot not in found}
    return [key for key, _ in text.request.attributes if key not in unstated]
