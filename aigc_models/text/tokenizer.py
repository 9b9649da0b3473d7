"""Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) of delexicalised texts, and symbols of
acts and slots."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

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

PAD, BOS, EOS = "⟦pad⟧", "⟦begin⟧", "⟦end⟧"
BRACKETS = str.maketrans("⟦⟧", "[]")


class TextTokenizer:
    """Ids of symbols and of literal text. A text is encoded as if a space stood before it, so that
    words look alike."""

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
        """`symbols` are those of acts, other than slots. `vocab_size` counts the literal tokens
        only."""
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
        """(token, part) of the symbols that name the same key, number or value."""
        added = sorted(self.tokenizer.get_added_tokens_decoder().items())
        named = [(i, part) for i, token in added for part in symbol_parts(token.content)]
        numbers = {
            part: number for number, part in enumerate(dict.fromkeys(part for _, part in named))
        }
        return [(i, numbers[part]) for i, part in named]

    def facts(self, markers: Mapping[int, str]) -> dict[int, int]:
        """A number from 1 for each token that tells a fact: slots, values of an act's first
        attribute of a key, and the markers of such keys. Tokens that tell the same fact have the
        same number."""
        told: dict[int, Slot | str] = {token: slot for token, (slot, _) in self.slot_of.items()}
        for token, symbol in self.tokenizer.get_added_tokens_decoder().items():
            match = VALUE_SYMBOL.fullmatch(symbol.content)
            if match and match["number"] == "1" and match["key"] in markers.values():
                told[token] = match["key"]
        told |= markers
        numbers = {
            fact: i
            for i, fact in enumerate(dict.fromkeys(told[token] for token in sorted(told)), start=1)
        }
        return {token: numbers[fact] for token, fact in told.items()}

    def slot_ids(self, slot: Slot) -> list[int]:
        return [self.symbol_id(slot_symbol(slot, glued=glued)) for glued in (False, True)]

    def prefix(self, act: Act) -> list[int]:
        """What a text is conditioned on."""
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
        """The inverse of `encode`; symbols that are no slots are left out."""
        segments: list[str | Slot] = []
        run: list[int] = []

        def end_run(after: str = "") -> None:
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
        """Raises `CheckpointError` for a file that is no tokenizer's."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers has no class of its own
            raise CheckpointError(f"{path}: damaged: {error}") from error
        return cls(tokenizer)


def spaced(text: Segments) -> list[str | tuple[Slot, bool]]:
    """Literal pieces and (slot, glued) pairs; the space before a slot is part of the slot's
    token."""
    pieces: list[str | tuple[Slot, bool]] = []
    before = " "
    for segment in text:
        if isinstance(segment, Slot):
            glued = not before.endswith(" ")
            if literal := before if glued else before[:-1]:
                pieces.append(literal)
            pieces.append((segment, glued))
            before = ""
        else:
            before += segment.translate(BRACKETS)
    if before:
        pieces.append(before)
    return pieces
