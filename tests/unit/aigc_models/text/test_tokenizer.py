from pathlib import Path

import pytest

from aigc_models.text.language.acts import Segments, Slot
from aigc_models.text.language.schema import Act, slot_symbol, value_symbol
from aigc_models.text.tokenizer import TextTokenizer

NAME, SIZE = Slot("name", 1), Slot("size", 2)
TEXTS: list[Segments] = [
    ("The ", NAME, " kettle holds ", SIZE, "s of water."),
    (NAME, ' is "', SIZE, '" wide, ', NAME, NAME),
    ("No slot here, 🦓 عربي ünïcode",),
    ("(", NAME, ") [brackets]"),
]
COLOUR = value_symbol("colour", "red")


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(TEXTS * 5, ["⟦intent inform⟧", COLOUR], [NAME, SIZE], 400)


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_inverts_encoding(tokenizer: TextTokenizer, text: Segments) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_text_in_an_unseen_script_comes_back(tokenizer: TextTokenizer) -> None:
    text = ("日本 ", NAME, " ✓")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_brackets_in_a_text_do_not_become_symbols(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode(("say ⟦begin⟧ loud",))
    assert not tokenizer.symbol_ids.intersection(ids)
    assert tokenizer.decode(ids) == ("say [begin] loud",)


def test_a_prefix_ends_with_the_begin_token(tokenizer: TextTokenizer) -> None:
    act = Act(("⟦intent inform⟧", slot_symbol(NAME), COLOUR), ((NAME, "x"),), (COLOUR,), ())
    assert len(tokenizer.prefix(act)) == 4
    assert tokenizer.prefix(act)[-1] == tokenizer.bos_id


def test_links_join_tokens_of_one_key(tokenizer: TextTokenizer) -> None:
    parts = {
        i: {part for token, part in tokenizer.links() if token == i} for i, _ in tokenizer.links()
    }
    spaced, glued = tokenizer.slot_ids(NAME)
    assert parts[spaced] == parts[glued]
    assert parts[spaced] & parts[tokenizer.symbol_id(COLOUR)]


def test_a_tokenizer_can_be_saved_and_loaded(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = TextTokenizer.load(tmp_path / "tokenizer.json")
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert loaded.slot_of == tokenizer.slot_of
    assert loaded.links() == tokenizer.links()
