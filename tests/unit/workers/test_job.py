import pytest

from infra.errors import InputError
from workers.inputs.tables import INPUT_TABLES
from workers.job import OUTPUT_COLUMNS
from workers.jobs import JOBS, find_job, models_of
from workers.models import MODELS


@pytest.mark.parametrize("name", JOBS)
def test_every_job_is_declared_completely(name: str) -> None:
    job = find_job(name)
    assert job.name == name
    assert set(job.tables) <= INPUT_TABLES.keys()
    assert set(job.models) <= MODELS.keys()
    assert job.models[-1] == job.model
    assert models_of(name) == job.models
    assert job.id_column in job.columns
    assert job.preparation is None or set(job.columns) <= set(job.preparation.schema.names)
    assert {job.id_column, "passed", "checks", *(field.name for field in OUTPUT_COLUMNS)} <= set(
        job.schema.names
    )


def test_settings_come_as_text_and_get_their_types() -> None:
    settings = find_job("product_descriptions").parse_settings(
        {"num_facts": "4", "temperature": "0.7"}
    )
    assert (settings.num_facts, settings.temperature) == (4, 0.7)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"temprature": "1"}, "there is no setting 'temprature'; there are .*temperature"),
        ({"num_facts": "many"}, "num_facts: .*integer"),
        ({"batch_rows": "0"}, "batch_rows"),
        ({"error_budget": "3"}, "error_budget must be between 0 and 1"),
        ({"num_gpus": "-1"}, "num_gpus must be"),
        ({"num_gpus": "1.5"}, "num_gpus must be a share of one GPU or a whole number"),
    ],
)
def test_bad_settings_are_named(given: dict[str, str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        find_job("product_descriptions").parse_settings(given)


def test_a_model_may_be_named_in_place_of_a_job() -> None:
    assert [models_of(name) for name in MODELS] == [(name,) for name in MODELS]
    with pytest.raises(
        InputError, match=r"no job or model 'gpt'; there are product_descriptions, .*, recommender"
    ):
        models_of("gpt")


def test_the_error_of_an_unknown_job_lists_all_jobs() -> None:
    with pytest.raises(
        InputError,
        match="there is no job 'descriptions'; there are product_descriptions, product_images, ",
    ):
        find_job("descriptions")
