from datetime import UTC, date, datetime, timedelta

import pytest

from flows import parameters
from flows.parameters import JobName, ModelName, job_settings, resolve_date, split_assignments
from infra.errors import InputError
from infra.settings import Settings
from workers.jobs import JOBS
from workers.models import MODELS


def test_forms_list_exactly_the_jobs_and_models() -> None:
    assert [name.value for name in JobName] == list(JOBS)
    assert [name.value for name in ModelName] == list(MODELS)


def test_a_run_is_for_the_given_date_or_for_yesterday() -> None:
    assert resolve_date("2026-11-22") == date(2026, 11, 22)
    today = datetime.now(UTC).date()
    assert resolve_date("") in {today - timedelta(days=1), today}


def test_settings_of_a_form_may_have_several_lines() -> None:
    assert split_assignments("seed=1\ntemperature=0.7  num_facts=4") == {
        "seed": "1",
        "temperature": "0.7",
        "num_facts": "4",
    }
    with pytest.raises(InputError, match="expected key=value"):
        split_assignments("seed 1")


def test_num_gpus_of_the_settings_is_the_default_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = JOBS["product_descriptions"]
    assert job_settings(job, "seed=1").num_gpus == 0
    monkeypatch.setattr(parameters, "load_settings", lambda: Settings(num_gpus=0.25))
    assert job_settings(job, "seed=1").num_gpus == 0.25
    assert job_settings(job, "num_gpus=0").num_gpus == 0
    monkeypatch.setattr(parameters, "load_settings", lambda: Settings(num_gpus=1.5))
    with pytest.raises(InputError, match="num_gpus must be a share of one GPU or a whole number"):
        job_settings(job, "")
