import json

from aigc_models.text.language.acts import Slot, TextExample, TextRequest
from aigc_models.text.language.schema import (
    IntentUse,
    Schema,
    intent_use,
    learn_schema,
    parse_slot_symbol,
    slot_symbol,
    symbol_parts,
    value_label,
    value_symbol,
)


def kettle(name: str, flag: str | None, text: str) -> TextExample:
    return TextExample(TextRequest("inform", (("name", name), ("switches off", flag))), text)


EXAMPLES = [
    example
    for i in range(10)
    for example in (
        kettle(f"K{i}", "true", f"K{i} stops by itself"),
        kettle(f"K{i}", "false", f"K{i} never stops"),
    )
]
SCHEMA = learn_schema(EXAMPLES)


def test_repeated_values_are_slots_and_others_tokens() -> None:
    act = SCHEMA.act(EXAMPLES[0].request)
    assert act.slots == ((Slot("name", 1), "K0"),)
    assert [value_label(token) for token in act.tokens] == ["switches off = true"]
    assert act.problems == ()


def test_new_values_of_a_repeated_key_are_slots() -> None:
    assert SCHEMA.act(TextRequest("inform", (("name", "Brand New 7"),))).slots == (
        (Slot("name", 1), "Brand New 7"),
    )


def test_attributes_that_training_never_saw_are_left_out_and_named() -> None:
    request = TextRequest(
        "sing", (("colour", "red"), ("switches off", "maybe"), ("name", "a"), ("name", "b"))
    )
    act = SCHEMA.act(request)
    assert [slot for slot, _ in act.slots] == [Slot("name", 1)]
    assert act.problems == (
        "intent 'sing' was never seen in training",
        "attribute 'colour' was never seen in training",
        "value 'maybe' of attribute 'switches off' was never seen in training",
        "attribute 'name' occurs more often than in any training text",
    )


def test_only_facts_that_texts_can_express_can_be_stated() -> None:
    schema = Schema(
        SCHEMA.keys,
        {"inform": IntentUse(values=frozenset({"switches off = true"})), "sing": IntentUse()},
    )
    assert schema.can_state("inform", "switches off", "TRUE")
    assert schema.can_state("sing", "name", "A")
    assert not schema.can_state("sing", "switches off", "true")
    assert not schema.can_state("inform", "switches off", "maybe")
    assert not schema.can_state("inform", "name", None)
    assert not schema.can_state("inform", "colour", "red")
    assert not schema.can_state("dance", "name", "A")


def test_a_rare_value_is_judged_by_its_key() -> None:
    examples = [kettle(f"K{i}", None, f"K{i} boils") for i in range(30)] + [
        kettle("Kx", None, "Kz boils")
    ]
    use = learn_schema(examples).keys["name"]
    assert use.is_verbatim
    assert "kx" not in use.tokens


def test_head_keys_are_those_of_nearly_every_text() -> None:
    use = intent_use([["name", "size"], ["name", "colour"], ["name"], ["name", "size", "colour"]])
    assert use.head_keys == ("name",)
    assert use.num_facts == (0, 1, 1)


def test_every_symbol_that_an_act_can_have_is_listed() -> None:
    assert SCHEMA.slots() == [Slot("name", 1)]
    assert SCHEMA.value_symbols() == [
        value_symbol("switches off", value) for value in ("false", "true")
    ]


def test_symbols_of_any_key_can_be_parsed() -> None:
    for key in ("plain", "with = and ⟧", "مفتاح", "k" * 300, "two\nlines"):
        slot = Slot(key, 12)
        assert parse_slot_symbol(slot_symbol(slot)) == (slot, False)
        assert parse_slot_symbol(slot_symbol(slot, glued=True)) == (slot, True)
        assert parse_slot_symbol(value_symbol(key, "x")) is None
    assert value_label(value_symbol("k", None, 2)) == "k = "


def test_symbols_of_a_key_share_a_part() -> None:
    assert set(symbol_parts(slot_symbol(Slot("size", 1)))) & set(
        symbol_parts(slot_symbol(Slot("size", 2)))
    )
    assert set(symbol_parts(value_symbol("a", "true"))) & set(
        symbol_parts(value_symbol("b", "true"))
    )
    assert symbol_parts("⟦begin⟧") == ()


def test_a_schema_can_be_stored_as_json() -> None:
    schema = Schema(
        SCHEMA.keys, {"inform": IntentUse(num_texts=3, head_keys=("name",), values=frozenset("a"))}
    )
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
