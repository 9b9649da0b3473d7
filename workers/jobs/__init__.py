"""All jobs. To add a job, add one file to this folder and one line here."""

from infra.errors import InputError
from workers.job import Job
from workers.jobs import copywriting, product_descriptions, product_images, recommendation_texts
from workers.models import MODELS

JOBS: dict[str, Job] = {
    "product_descriptions": product_descriptions.JOB,
    "product_images": product_images.JOB,
    "copywriting": copywriting.JOB,
    "recommendation_texts": recommendation_texts.JOB,
}


def find_job(name: str) -> Job:
    """The job called `name`; raises InputError listing all jobs."""
    if name not in JOBS:
        raise InputError(f"there is no job {name!r}; there are {', '.join(JOBS)}")
    return JOBS[name]


def models_of(name: str) -> tuple[str, ...]:
    """The models of the job `name`, or the model `name`; raises InputError listing all of both."""
    if name in MODELS:
        return (name,)
    if name in JOBS:
        return JOBS[name].models
    raise InputError(f"there is no job or model {name!r}; there are {', '.join([*JOBS, *MODELS])}")
