"""From examples to what a text model learns from: delexicalised texts beside their acts, split for validation.

What a reference leaves unsaid is left out of its act, so that the model learns to say all it is given. References with
numbers that their act does not give are left out, or the model would learn to invent them.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aigc_models.acts import Segments, Slot, TextExample, TextRequest
from aigc_models.delexicalisation import delexicalise, stated
from aigc_models.expression import ExpressionDetector, fit_detector
from aigc_models.facts import EXPRESSED, FactChecker, learn_known_values, learn_repeatable_keys, literal_numbers
from aigc_models.schema import Act, Schema, learn_schema
from aigc_models.words import NUMBER
from aigc_models.written_form import is_tokenised

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
    """Examples of equal acts stay together; which acts validate depends on the act alone, not on the other examples."""
    tokenised = is_tokenised([example.reference for example in examples])
    schema = learn_schema(examples)
    texts = [training_text(example, schema, tokenised) for example in examples]
    usable = [text for text in texts if text.text and not unsupported_numbers(text)]
    training = [text for text in usable if act_share(text.request) >= validation_share]
    validation = [text for text in usable if act_share(text.request) < validation_share]
    if not training or not validation:
        raise NoExamplesError(
            f"{len(examples)} examples give {len(training)} to train on and {len(validation)} to validate on; "
            "both are needed (examples whose text has numbers that the attributes lack are left out)"
        )
    detector = fit_detector([text.text for text in training], [text.act.tokens for text in training])
    checker = FactChecker(
        detector,
        learn_known_values(examples, [text.text for text in texts], schema),
        learn_repeatable_keys([text.text for text in training]),
    )
    further = continuations(training, schema, detector)
    return Corpus(
        with_continued(schema, further),
        checker,
        tokenised,
        (*map(without_unstated, training), *further),
        tuple(validation),
        len(texts) - len(usable),
    )


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
    return replace(text, act=text.act.without([slot for slot, _ in text.act.slots if slot not in found]))


def continuations(texts: Sequence[TrainingText], schema: Schema, detector: ExpressionDetector) -> list[TrainingText]:
    """Later sentences that speak of the subject without naming it, as examples of their own."""
    found = []
    for text in texts:
        first, *later = sentences(text.text)
        head_keys = schema.intents[text.request.intent].head_keys
        if not any(slot.key in head_keys for slot in stated(first)):
            continue
        for sentence, expressed in zip(later, detector.probabilities(later), strict=True):
            slots = stated(sentence)
            tokens = [symbol for symbol, probability in expressed.items() if probability >= EXPRESSED]
            is_plain = len(set(slots)) == len(slots) and all(slot.number == 1 for slot in slots)
            is_unnamed = not any(slot.key in head_keys for slot in slots) and set(tokens) <= set(text.act.tokens)
            if (slots or tokens) and is_plain and is_unnamed and begins_with_word(sentence):
                found.append(continuation(text, sentence, tokens, schema))
    return found


def continuation(text: TrainingText, sentence: Segments, tokens: Sequence[str], schema: Schema) -> TrainingText:
    request = replace(text.request, continued=True)
    act = schema.act(request)
    head_keys = schema.intents[request.intent].head_keys
    dropped = [slot for slot, _ in act.slots if slot.key in head_keys or slot not in stated(sentence)]
    return TrainingText(request, act.without(dropped, [token for token in act.tokens if token not in tokens]), sentence)


def begins_with_word(sentence: Segments) -> bool:
    return isinstance(sentence[0], str) and sentence[0][:1].isalpha()


def sentences(text: Segments) -> list[Segments]:
    """The text cut after full stops, question and exclamation marks that a space follows; the marks stay."""
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


def with_continued(schema: Schema, texts: Sequence[TrainingText]) -> Schema:
    counts = {intent: sum(text.request.intent == intent for text in texts) for intent in schema.intents}
    intents = {intent: replace(use, num_continued=counts[intent]) for intent, use in schema.intents.items()}
    return Schema(schema.keys, intents)
