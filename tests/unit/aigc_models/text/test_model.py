import json
import shutil
from pathlib import Path

import pytest
import torch

from aigc_models.checkpoint import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    CheckpointError,
    write_json,
    write_tensors,
)
from aigc_models.text.language.acts import TextExample, TextRequest
from aigc_models.text.model import Sampling, TextModel

SAMPLING = Sampling(num_candidates=4)


def kettle(
    name: str | None, material: str = "steel", litres: str = "1.7", switches_off: str = "true"
) -> TextRequest:
    return TextRequest(
        "inform",
        (
            ("name", name),
            ("material", material),
            ("capacity_l", litres),
            ("switches_off", switches_off),
        ),
    )


@pytest.mark.parametrize(
    "name", ["Zebra 🦓 5", "غلاية 7", "קומקום", 'The "Best" & Only', "steel 1.7 x", "N" * 500]
)
def test_names_in_any_script_are_spelled_as_given(kettle_model: TextModel, name: str) -> None:
    row = kettle_model.generate([kettle(name)], [1], SAMPLING)[0]
    assert row.text.count(name) == 1
    assert "1.7" in row.text.replace(name, "")
    assert row.problems == ()


def test_natural_references_give_natural_texts(kettle_model: TextModel) -> None:
    row = kettle_model.generate([kettle("Aurora 5")], [3], SAMPLING)[0]
    assert row.text.startswith(("The Aurora 5", "Meet the Aurora 5"))
    assert row.text.endswith(".")
    assert " ." not in row.text


def test_a_text_states_what_its_row_gives(kettle_model: TextModel) -> None:
    rows = kettle_model.generate(
        [kettle(f"Kettle {i}", litres=f"{i}.5") for i in range(20)], range(20), SAMPLING
    )
    for i, row in enumerate(rows):
        assert f"Kettle {i}" in row.text
        assert f"{i}.5" in row.text
    assert sum(not row.problems for row in rows) >= 16


def test_a_row_is_the_same_in_any_batch_and_order(
    kettle_model: TextModel, kettles: list[TextExample]
) -> None:
    requests = [example.request for example in kettles[:30]]
    seeds = list(range(30))
    rows = kettle_model.generate(requests, seeds, SAMPLING)
    turned = kettle_model.generate(requests[::-1], seeds[::-1], SAMPLING)[::-1]
    alone = [kettle_model.generate([requests[i]], [seeds[i]], SAMPLING)[0] for i in range(5)]
    assert kettle_model.generate(requests, seeds, SAMPLING) == rows
    assert [row.text for row in turned] == [row.text for row in rows]
    assert [row.text for row in alone] == [row.text for row in rows[:5]]


def test_a_loaded_model_writes_what_it_wrote_before(
    kettle_folder: Path, kettle_model: TextModel
) -> None:
    again = TextModel.load(kettle_folder)
    assert again.generate([kettle("A")], [5], SAMPLING) == kettle_model.generate(
        [kettle("A")], [5], SAMPLING
    )


def test_an_attribute_training_never_saw_is_named_as_a_problem(kettle_model: TextModel) -> None:
    request = kettle("A")
    request = TextRequest(request.intent, (*request.attributes, ("k" * 300, "v")))
    row = kettle_model.generate([request], [1], SAMPLING)[0]
    assert row.problems == (f"attribute {'k' * 300!r} was never seen in training",)
    assert row.num_faithful == 0


@pytest.mark.parametrize(
    "request_",
    [
        TextRequest("inform", ()),
        TextRequest("unheard of", (("name", "A"),)),
        kettle(None),
        kettle(""),
        TextRequest("inform", (("name", "A"),) * 30),
    ],
)
def test_odd_requests_give_a_text_and_a_reason(
    kettle_model: TextModel, request_: TextRequest
) -> None:
    row = kettle_model.generate([request_], [1], SAMPLING)[0]
    assert isinstance(row.text, str)
    assert row.num_candidates == 5
    assert row.problems


def test_a_text_that_does_not_end_is_a_problem(kettle_model: TextModel) -> None:
    row = kettle_model.generate([kettle("A")], [1], Sampling(num_candidates=2, max_tokens=3))[0]
    assert "the text does not end" in row.problems


def test_the_number_of_seeds_must_be_that_of_the_requests(kettle_model: TextModel) -> None:
    with pytest.raises(ValueError, match="1 requests but 2 row seeds"):
        kettle_model.generate([kettle("A")], [1, 2], SAMPLING)
    assert kettle_model.generate([], [], SAMPLING) == []


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        TextModel.load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": None},
        {"family": "bigram"},
        {"network": {"depth": 3}},
        {"facts": {}},
        {"is_tokenised": ...},
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    kettle_folder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = shutil.copytree(kettle_folder, tmp_path / "model")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | changes
    write_json(folder / CONFIG, {name: value for name, value in config.items() if value is not ...})
    with pytest.raises(CheckpointError, match="model: not a text-model checkpoint"):
        TextModel.load(folder)


def test_a_checkpoint_with_files_of_another_is_refused(kettle_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(kettle_folder, tmp_path / "model")
    write_tensors(folder / WEIGHTS, {"network.other": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="Missing key"):
        TextModel.load(folder)
    shutil.copy(kettle_folder / WEIGHTS, folder / WEIGHTS)
    (folder / TOKENIZER).write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: damaged"):
        TextModel.load(folder)


def test_generation_leaves_the_global_random_state_alone(kettle_model: TextModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    kettle_model.generate([kettle("A")], [1], SAMPLING)
    assert torch.rand(3).equal(expected)
