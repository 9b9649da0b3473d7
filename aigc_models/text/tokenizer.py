"""Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) of delexicalised texts, with one token
for each symbol of an act or slot."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from aigc_models.checkpoint import CheckpointError
from aigc_models.text.language.acts import Segments, Slot
from aigc_models.text.language.schema import (
    VALUE_SYMBOL,
    Act,
    parse_slot_symbol,
    slot_symbol,
    symbol_parts,
)

T = TypeVar("T")
PAD, BOS, EOS = "⟦pad⟧", "⟦begin⟧", "⟦end⟧"
BRACKETS = str.maketrans("⟦⟧", "[]")


class TextTokenizer:
    """Converts acts and texts to token ids and back. A text is encoded as if a space preceded it,
    so that its first word has the same token as elsewhere."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocab_size: int = tokenizer.get_vocab_size()
        self.pad_id, self.bos_id, self.eos_id = (
            self.symbol_id(symbol) for symbol in (PAD, BOS, EOS)
        )
        symbols = {
            token_id: token.content
            for token_id, token in tokenizer.get_added_tokens_decoder().items()
        }
        self.symbol_ids = frozenset(symbols)
        self.slot_of = {
            i: parsed for i, symbol in symbols.items() if (parsed := parse_slot_symbol(symbol))
        }

    @classmethod
    def train(
        cls,
        texts: Iterable[Segments],
        symbols: Sequence[str],
        slots: Sequence[Slot],
        vocab_size: int,
    ) -> "TextTokenizer":
        """`symbols` are those of acts, except slots. `vocab_size` counts only literal tokens."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        special = [PAD, BOS, EOS, *symbols]
        special += [slot_symbol(slot, glued=glued) for slot in slots for glued in (False, True)]
        trainer = trainers.BpeTrainer(
            vocab_size=max(vocab_size, 256) + len(special),
            min_frequency=3,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=[
                AddedToken(symbol, normalized=False, special=True) for symbol in special
            ],
        )
        literals = (piece for text in texts for piece in spaced(text) if isinstance(piece, str))
        tokenizer.train_from_iterator(literals, trainer)
        return cls(tokenizer)

    def symbol_id(self, symbol: str) -> int:
        found = self.tokenizer.token_to_id(symbol)
        if found is None:
            raise KeyError(f"the tokenizer has no symbol {symbol!r}")
        return int(found)

    def links(self) -> list[tuple[int, int]]:
        """(token, part) pairs: symbols with the same key, number or value share a part."""
        added = sorted(self.tokenizer.get_added_tokens_decoder().items())
        named = [(i, part) for i, token in added for part in symbol_parts(token.content)]
        numbers = numbered(part for _, part in named)
        return [(i, numbers[part]) for i, part in named]

    def facts(self, markers: Mapping[int, str]) -> dict[int, int]:
        """The number, from 1, of the fact that a token states. Such tokens are slots, markers, and
        values of keys with markers, if they belong to the first attribute of that key."""
        fact_of: dict[int, Slot | str] = {token: slot for token, (slot, _) in self.slot_of.items()}
        for token, symbol in self.tokenizer.get_added_tokens_decoder().items():
            match = VALUE_SYMBOL.fullmatch(symbol.content)
            if match and match["number"] == "1" and match["key"] in markers.values():
                fact_of[token] = match["key"]
        fact_of |= markers
        numbers = numbered(fact_of[token] for token in sorted(fact_of))
        return {token: 1 + numbers[fact] for token, fact in fact_of.items()}

    def slot_ids(self, slot: Slot) -> list[int]:
        """Its two tokens: with a space before the value, and glued to the text before it."""
        return [self.symbol_id(slot_symbol(slot, glued=glued)) for glued in (False, True)]

    def prefix(self, act: Act) -> list[int]:
        """The tokens that a text is conditioned on."""
        return [*(self.symbol_id(symbol) for symbol in act.symbols), self.bos_id]

    def encode(self, text: Segments) -> list[int]:
        ids: list[int] = []
        for piece in spaced(text):
            if isinstance(piece, str):
                ids += self.tokenizer.encode(piece, add_special_tokens=False).ids
            else:
                ids.append(self.symbol_id(slot_symbol(piece[0], glued=piece[1])))
        return ids

    def decode(self, ids: Sequence[int]) -> Segments:
        """The inverse of `encode`; symbols other than slots are skipped."""
        segments: list[str | Slot] = []
        run: list[int] = []

        def end_run(after: str = "") -> None:
            """Appends the literal tokens since the last slot, and the space of the next one."""
            literal = self.tokenizer.decode(run, skip_special_tokens=True) + after
            literal = literal.removeprefix(" ") if not segments else literal
            if literal:
                segments.append(literal)
            run.clear()

        for token in ids:
            if token in self.slot_of:
                slot, glued = self.slot_of[token]
                end_run("" if glued else " ")
                segments.append(slot)
            else:
                run.append(token)
        end_run()
        return tuple(segments)

    def save(self, path: Path) -> None:
        self.tokenizer.save(str(path))

    @classmethod
    def load(cls, path: Path) -> "TextTokenizer":
        """Raises `CheckpointError` if the file does not hold a tokenizer."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises no class of its own
            raise CheckpointError(f"{path}: damaged: {error}") from error
        return cls(tokenizer)


def numbered(items: Iterable[T]) -> dict[T, int]:
    """Different items, numbered from 0 in the order of their first appearance."""
    return {item: number for number, item in enumerate(dict.fromkeys(items))}


def spaced(text: Segments) -> list[str | tuple[Slot, bool]]:
    """Literal pieces and (slot, glued) pairs. The space before a slot belongs to the slot's token;
    a glued slot has none."""
    pieces: list[str | tuple[Slot, bool]] = []
    before = " "
    for segment in text:
        if isinstance(segment, Slot):
            glued = not before.endswith(" ")
            literal = before if glued else before[:-1]
            if literal:
                pieces.append(literal)
            pieces.append((segment, glued))
            before = ""
        else:
            before += segment.translate(BRACKETS)
    if before:
        pieces.append(before)
    return pieces
