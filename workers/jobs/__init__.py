"""All jobs. A further job is one file beside this one and one line here."""

from infra.errors import InputError
from workers.job import Job
from workers.jobs import copywriting, product_descriptions, product_images

JOBS: dict[str, Job] = {
    "product_descriptions": product_descriptions.JOB,
    "product_images": product_images.JOB,
    "copywriting": copywriting.JOB,
}


def find_job(name: str) -> Job:
    """The job called `name`; raises InputError that lists those there are."""
    if name not in JOBS:
        raise InputError(f"there is no job {name!r}; there are {', '.join(JOBS)}")
    return JOBS[name]
