"""The commands that run flows: train, run, nightly, backfill. Each is one run in the Prefect UI.

Each command imports its flow itself, so that no other command waits for Prefect and Ray.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from flows.cli.results import (
    exit_with_outcomes,
    print_run_page,
    reporting_lost_server,
    require_server,
    result_of,
)
from flows.cli.terminal import JsonOption, console, print_json, print_table, readable_seconds
from infra.errors import InputError
from infra.settings import load_settings

if TYPE_CHECKING:
    from flows.dates import DateStatus

JobArgument = Annotated[str, typer.Argument(help="A job, such as product_descriptions.")]
DateOption = Annotated[str, typer.Option("--date", help="YYYY-MM-DD. Default: yesterday (UTC).")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: key=value. Repeatable.")
]
ActorsOption = Annotated[
    int, typer.Option(min=0, help="Actors at once. 0: as many as fit into the cluster.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it again even if nothing changed.")]
PolicyOption = Annotated[
    str,
    typer.Option(
        help="champion, as-of (the newest model trained on data up to the date), or a version."
    ),
]


def train(
    what: Annotated[
        str,
        typer.Argument(
            help="A model, such as recommender, or a job that needs only one.", metavar="MODEL|JOB"
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Family: gpt, lstm, gru or rnn for texts; flow, gan or vae for pictures; "
            "gpt, gru or bert for recommenders. Several, separated by commas, compete. "
            "Default: the model's own."
        ),
    ] = "",
    date: DateOption = "",
    set_: SetOption = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="A small model in half a minute: a first look at regular examples."
        ),
    ] = False,
    force: ForceOption = False,
) -> None:
    """Trains a model version; it becomes champion if it beats the current one on held-out data.

    A version that was already trained on the same data and settings is not trained again.

    Exit status: 0 trained, whether or not it is champion; 1 failed; 2 wrong usage or input.

    Examples:

    `nightshift train product_descriptions --model lstm --set cpu_budget_s=300`

    `nightshift train recommender --model gpt,gru`
    """
    from flows.parameters import ModelName
    from flows.train import train as train_flow
    from workers.jobs import models_of
    from workers.models import MODELS
    from workers.pins import parse_date

    names = models_of(what)
    if len(names) > 1:
        raise InputError(
            f"{what} needs {len(names)} models; name the one to train: {', '.join(names)}"
        )
    declaration = MODELS[names[0]]
    require_server()
    with reporting_lost_server():
        state = train_flow(
            model=ModelName(names[0]),
            date=parse_date(date).isoformat(),
            family=model,
            settings=join_assignments(set_),
            quick=quick,
            force=force,
            return_state=True,
        )
        version = result_of(state)
    figures = ", ".join(
        f"{name} {version.metrics[metric]:.4g}" for name, metric in declaration.figures.items()
    )
    spent = readable_seconds(version.metrics["cpu_seconds"])
    console.print(f"{version.version}: {figures}; {spent} of CPU time", markup=False)
    print_run_page(state)


def run(
    job: JobArgument,
    date: DateOption = "",
    model_policy: PolicyOption = "champion",
    set_: SetOption = None,
    force: ForceOption = False,
    retry_quarantined: Annotated[
        bool,
        typer.Option(
            "--retry-quarantined",
            help="Retry the rows that were set aside, with new seeds; keep all others.",
        ),
    ] = False,
    ignore_gates: Annotated[
        bool,
        typer.Option("--ignore-gates", help="Publish even if a gate holds the partition back."),
    ] = False,
    num_actors: ActorsOption = 0,
) -> None:
    """Makes and publishes one partition: one job, one date.

    An up-to-date partition is left alone. An interrupted one is resumed. If inputs, model or
    settings changed, all rows are generated again, and replace the published ones when they are
    complete.

    Exit status: 0 published or unchanged; 1 failed; 2 wrong usage or input; 3 held back by a gate.

    Examples:

    `nightshift run product_descriptions`

    `nightshift run product_descriptions --date 2026-11-22 --set num_facts=4`

    `nightshift run product_descriptions --date 2026-11-22 --retry-quarantined`
    """
    from flows.generate import generate as generate_flow
    from flows.parameters import JobName
    from workers.jobs import find_job
    from workers.pins import parse_date

    find_job(job)
    if force and retry_quarantined:
        raise InputError(
            "--force generates all rows again, --retry-quarantined only those that were set aside: "
            "leave one of them out"
        )
    settings = join_assignments(set_)
    day = parse_date(date).isoformat()
    require_server()
    with reporting_lost_server(job, day):
        state = generate_flow(
            job=JobName(job),
            date=day,
            model_policy=model_policy,
            settings=settings,
            force=force,
            retry_quarantined=retry_quarantined,
            ignore_gates=ignore_gates,
            num_actors=num_actors,
            return_state=True,
        )
        result = result_of(state)
        text = result.message
        if result.state == "published":
            text += f" in {readable_seconds(result.manifest.seconds)}"
        console.print(text, markup=False)
        print_run_page(state)


def nightly(date: DateOption = "") -> None:
    """Runs every job whose inputs are loaded; trains first where a model is missing or too old.

    A job that fails does not stop the others. The scheduled deployment `nightly` does the same.

    Exit status: 0 all published, unchanged or skipped; 1 one failed; 3 one held back by a gate.

    Example: `nightshift nightly --date 2026-11-22`
    """
    from flows.nightly import nightly as nightly_flow
    from workers.pins import parse_date

    require_server()
    with reporting_lost_server():
        exit_with_outcomes(nightly_flow(date=parse_date(date).isoformat(), return_state=True))


def backfill(
    job: JobArgument,
    start: Annotated[str, typer.Option(help="First date, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option(help="Last date, included.")],
    *,
    mode: Annotated[
        str,
        typer.Option(
            help="missing: no complete published partition. "
            "failed: failed, held, unfinished or damaged. "
            "stale: published, but inputs, model or settings have changed since. all: every date."
        ),
    ] = "missing",
    order: Annotated[str, typer.Option(help="Which date is first: oldest or newest.")] = "oldest",
    max_parallel: Annotated[
        int, typer.Option(min=1, help="Dates at once; they share the actors.")
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only show what would be done. Needs neither Prefect nor Ray."
        ),
    ] = False,
    model_policy: PolicyOption = "champion",
    set_: SetOption = None,
    num_actors: ActorsOption = 0,
    json: JsonOption = False,
) -> None:
    """Makes the partitions of a range of dates; a date that fails does not stop the others.

    Nightly runs go first: a backfill's actors yield to them. After an interruption the same command
    resumes. `--dry-run` shows what is there, what would be done and why, and an estimate of the
    time.

    Exit status: 0 all published, unchanged or skipped; 1 one failed; 2 wrong usage or input;
    3 one held back by a gate.

    Examples:

    `nightshift backfill product_descriptions --start 2026-11-01 --end 2026-11-07 --dry-run`

    `nightshift backfill product_descriptions --start 2026-11-01 --end 2026-11-07 --model-policy
    as-of`

    `nightshift backfill product_descriptions --start 2026-01-01 --end 2026-11-07 --mode stale
    --order newest`
    """
    from flows.backfill import backfill as backfill_flow
    from flows.dates import Mode, Order, examine_dates, parse_range
    from flows.parameters import JobName, job_settings
    from infra.storage import open_storage
    from workers.jobs import find_job

    declared = find_job(job)
    chosen_mode = check_choice(mode, get_args(Mode))
    chosen_order = check_choice(order, get_args(Order))
    settings = join_assignments(set_)
    days = parse_range(start, end, chosen_order)
    if dry_run:
        parsed = job_settings(declared, settings)
        found = examine_dates(
            open_storage(load_settings()), declared, days, chosen_mode, model_policy, parsed
        )
        print_dry_run(job, found, as_json=json)
        return
    require_server()
    with reporting_lost_server():
        state = backfill_flow(
            job=JobName(job),
            start=start,
            end=end,
            mode=chosen_mode,
            order=chosen_order,
            max_parallel=max_parallel,
            model_policy=model_policy,
            settings=settings,
            num_actors=num_actors,
            return_state=True,
        )
        exit_with_outcomes(state, as_json=json)


def check_choice(value: str, known: Sequence[str]) -> Any:
    """The value itself; raises BadParameter unless it is one of `known`."""
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}")
    return value


def print_dry_run(job: str, found: "Sequence[DateStatus]", *, as_json: bool) -> None:
    from flows.dates import table_rows, totals

    if as_json:
        print_json([asdict(item) for item in found])
        return
    rows = table_rows(found)
    print_table(f"Backfill of {job}, dry run", list(rows[0]), [list(row.values()) for row in rows])
    console.print(totals(found), markup=False)


def join_assignments(assignments: Sequence[str] | None) -> str:
    """The assignments of `--set` as flows take them: one text. Raises InputError for a bad one."""
    from workers.overrides import parse_assignments

    values = parse_assignments(assignments or [])
    return " ".join(f"{key}={value}" for key, value in values.items())
