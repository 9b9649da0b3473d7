"""Flow parameters: their types, which become the forms in the Prefect UI, and how they are parsed.

Choices are enums, so that a form lists them.
"""

from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Any

from prefect.runtime import flow_run
from pydantic import Field

from infra.settings import load_settings
from workers.job import Job, JobSettings
from workers.jobs import JOBS
from workers.models import MODELS
from workers.overrides import parse_assignments
from workers.pins import parse_date

JobName = StrEnum("JobName", {name: name for name in JOBS})  # type: ignore[misc]  # the jobs are only known here
ModelName = StrEnum("ModelName", {name: name for name in MODELS})  # type: ignore[misc]


def titled(title: str, **constraints: Any) -> Any:
    """The title of a form field. Prefect overwrites pydantic's own `title` with the parameter's
    name."""
    return Field(json_schema_extra={"title": title}, **constraints)


DateText = Annotated[str, titled("Date")]
PolicyText = Annotated[str, titled("Model policy")]
SettingsText = Annotated[str, titled("Settings")]
ActorCount = Annotated[int, titled("Actors at once", ge=0)]


def resolve_date(text: str) -> date:
    """The date given, or else the day before the run's scheduled start, even if it starts late."""
    if text:
        return parse_date(text)
    scheduled = flow_run.scheduled_start_time
    return scheduled.date() - timedelta(days=1) if scheduled else parse_date("")


def split_assignments(text: str) -> dict[str, str]:
    """ "key=value key=value" as a dict; raises InputError for a word without `=`."""
    return parse_assignments(text.split())


def job_settings(job: Job, text: str) -> JobSettings:
    """The job's settings, changed by "key=value key=value"; raises InputError with the setting."""
    return job.parse_settings({"num_gpus": load_settings().num_gpus} | split_assignments(text))


def run_name(subject: str) -> str:
    """A readable name for a flow run: its subject and its date."""
    parameters = flow_run.parameters
    return f"{parameters.get(subject, subject)} · {resolve_date(parameters.get('date') or '')}"
