"""Converts tokenised lower-case English ("the 15 inch -s are moderate -ly big .") to written
English.

Used only for models whose corpus is tokenised; natural texts stay unchanged.
"""

import re
from collections.abc import Sequence

ENDING = re.compile(r"(\w+) -(s|ly|er|est|ing|ed)\b")
BEFORE_PUNCTUATION = re.compile(r"\s+([.,;:!?])(?=\s|$)")
BEFORE_SUFFIX = re.compile(r"\s+('(?:s|re|ve|ll|d|m)|n't)\b")
SENTENCE_START = re.compile(r"(^|[.!?]\s+)([^\W\d_])")
LONE_I = re.compile(r"\bi\b(?!')")
QUESTION = re.compile(
    r"(?:and |so |or )?"
    r"(?:do|does|did|is|are|was|were|can|could|would|will|should|shall|have|has|may|"
    r"what|which|who|whose|how|when|where|why)\b"
)
TOKENISED_SHARE = 0.05
"""At least this share of tokenised texts has a mark or an ending that stands apart."""
CAPITALS_SHARE = 0.01
"""Less than this share of tokenised texts has capitals."""


def is_tokenised(references: Sequence[str]) -> bool:
    """Whether texts are in lower case, with spaces before punctuation or endings."""
    if sum(text != text.lower() for text in references) >= CAPITALS_SHARE * len(references):
        return False
    apart = sum(bool(re.search(r"\w (?:[.,]|-(?:s|ly|er))(?:\s|$)", text)) for text in references)
    return apart >= TOKENISED_SHARE * len(references)


def write_out(text: str) -> str:
    """Joins endings and punctuation, capitalises sentences and ends the last one."""
    text = ENDING.sub(lambda match: inflected(match[1], match[2]), " ".join(text.split()))
    text = BEFORE_SUFFIX.sub(r"\1", BEFORE_PUNCTUATION.sub(r"\1", text))
    text = LONE_I.sub("I", text)
    if text and text[-1] not in ".!?":
        last_sentence = re.split(r"[.!?]\s+", text)[-1]
        text += "?" if QUESTION.match(last_sentence) else "."
    return SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)


def inflected(stem: str, ending: str) -> str:
    """The stem with its ending, by the rules of English spelling."""
    if ending == "s":
        if re.search(r"(?:s|x|z|ch|sh)$", stem):
            return stem + "es"
        return stem[:-1] + "ies" if re.search(r"[^aeiou]y$", stem) else stem + "s"
    if ending == "ly" and stem.endswith("ue"):
        return stem[:-1] + "ly"
    return stem + (ending[1:] if ending[0] == "e" and stem.endswith("e") else ending)
