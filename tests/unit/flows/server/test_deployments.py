import importlib
import inspect
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.events import AutomationCore, EventTrigger
from prefect.utilities.callables import parameter_schema

from workers.jobs import JOBS
from workers.models import MODELS

DEPLOYMENTS = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])


def flow_of(deployment: dict[str, Any]) -> Flow[Any, Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_job_has_a_deployment_and_every_model_a_schedule() -> None:
    jobs = {
        each["name"]: each["parameters"]["job"]
        for each in DEPLOYMENTS
        if "job" in each.get("parameters", {})
    }
    assert jobs == {name: name for name in JOBS}
    (train,) = [each for each in DEPLOYMENTS if each["name"] == "train"]
    assert {schedule["parameters"]["model"] for schedule in train["schedules"]} == set(MODELS)


@each_deployment
def test_a_deployment_sets_only_parameters_of_its_flow(deployment: dict[str, Any]) -> None:
    assert set(deployment.get("parameters", {})) <= set(
        inspect.signature(flow_of(deployment).fn).parameters
    )
    assert deployment["description"].endswith(".")


@each_deployment
def test_each_field_of_a_form_has_a_title_and_is_explained(deployment: dict[str, Any]) -> None:
    fields = parameter_schema(flow_of(deployment).fn).properties
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert [
        name
        for name, field in fields.items()
        if field["title"] == name or not field["title"][0].isupper()
    ] == []


def test_prefect_accepts_the_notification_automation() -> None:
    text = Path("infra/deploy/notify.yaml").read_text().replace("BLOCK_ID", str(uuid4()))
    automation = AutomationCore.model_validate(yaml.safe_load(text))
    assert isinstance(automation.trigger, EventTrigger)
    assert automation.trigger.expect == {
        f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "Held")
    }
