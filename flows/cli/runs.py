"""The commands that run flows: train, run, nightly, backfill. Each is one run in the Prefect UI.

Flows are imported by the command that runs them: the other commands need not wait for Prefect, Ray and torch.
"""

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.terminal import console, readable_seconds
from infra.errors import GenerationError, InputError, NightshiftError
from workers.jobs import find_job
from workers.overrides import parse_assignments
from workers.plan import parse_date

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

JobArgument = Annotated[str, typer.Argument(help="A job, such as product_descriptions.")]
DateOption = Annotated[str, typer.Option("--date", help="YYYY-MM-DD; without it yesterday (UTC), the last whole day.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change a setting: key=value. May be repeated.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it again even if nothing changed.")]
PolicyOption = Annotated[
    str, typer.Option(help="champion, as-of (newest model trained on data up to the date) or a version.")
]
VALUES = {"published": 0, "unchanged": 0, "skipped": 0, "failed": 1, "held": 3}


def train(
    job: JobArgument,
    model: Annotated[str, typer.Option(help="Family: gpt, lstm, gru or rnn. Without it the default.")] = "",
    date: DateOption = "",
    set_: SetOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small GPT and half a minute: for a first look at plain, regular texts.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Trains a version of the job's model and makes it champion if it beats the present one on held-out data.

    Example: `nightshift train product_descriptions --model lstm --set cpu_budget_s=300`
    """
    from aigc_models.text_settings import QUICK
    from flows.train import train as train_flow

    declared = find_job(job)
    if quick and model not in ("", "gpt"):
        raise InputError(f"--quick is made for the family gpt, not {model}; leave one of the two out")
    preset = [f"{key}={value}" for key, value in QUICK.items()] if quick else []
    settings = joined([*preset, *(set_ or [])])
    require_server()
    state = train_flow(
        model=declared.model,
        date=parse_date(date).isoformat(),
        family=model,
        settings=settings,
        force=force,
        return_state=True,
    )
    version = result_of(state)
    figures = ", ".join(f"{name} {version.metrics[name]:.4g}" for name in ("bleu", "slot_error_rate", "val_loss"))
    spent = readable_seconds(version.metrics["cpu_seconds"])
    console.print(f"{version.version}: {figures}; {spent} of CPU time", markup=False)
    tell_page(state)


def run(
    job: JobArgument,
    date: DateOption = "",
    model_policy: PolicyOption = "champion",
    set_: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Makes and publishes one partition: one job, one date.

    A partition that is published and would come out the same is left alone; one whose run was interrupted goes on
    where it stopped; one whose inputs, model or settings changed is made anew and swapped in when it is complete.

    Example: `nightshift run product_descriptions --date 2026-11-22 --set num_facts=4`
    """
    from flows.generate import generate as generate_flow
    from flows.parameters import JobName

    find_job(job)
    settings = joined(set_)
    require_server()
    state = generate_flow(
        job=JobName(job),
        date=parse_date(date).isoformat(),
        model_policy=model_policy,
        settings=settings,
        force=force,
        return_state=True,
    )
    result = result_of(state)
    spent = readable_seconds(result.manifest["seconds"])
    console.print(f"{result.message}" + (f" in {spent}" if result.state == "published" else ""), markup=False)
    tell_page(state)


def nightly(date: DateOption = "") -> None:
    """Runs every job whose inputs are loaded; trains first where a model is missing or too old.

    Example: `nightshift nightly --date 2026-11-22`
    """
    from flows.nightly import nightly as nightly_flow

    require_server()
    state = nightly_flow(date=parse_date(date).isoformat(), return_state=True)
    end_with(state)


def backfill(
    job: JobArgument,
    start: Annotated[str, typer.Option(help="First date, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option(help="Last date, included.")],
    mode: Annotated[str, typer.Option(help="missing, failed, stale or all.")] = "missing",
    model_policy: PolicyOption = "champion",
    set_: SetOption = None,
) -> None:
    """Makes the partitions of a range of dates, each its own run; one bad date does not stop the others.

    Example: `nightshift backfill product_descriptions --start 2026-11-01 --end 2026-11-07 --model-policy as-of`
    """
    from flows.backfill import Mode
    from flows.backfill import backfill as backfill_flow
    from flows.parameters import JobName

    find_job(job)
    if mode not in Mode.__args__:  # type: ignore[attr-defined]
        raise typer.BadParameter(f"{mode!r} is none of {', '.join(Mode.__args__)}")  # type: ignore[attr-defined]
    settings = joined(set_)
    require_server()
    end_with(
        backfill_flow(
            job=JobName(job),
            start=start,
            end=end,
            mode=mode,
            model_policy=model_policy,
            settings=settings,
            return_state=True,
        )
    )


def joined(assignments: Sequence[str] | None) -> str:
    """The assignments of `--set` as the one text that flows take; raises InputError for a bad one."""
    return " ".join(f"{key}={value}" for key, value in parse_assignments(assignments or []).items())


def require_server() -> None:
    """Also sets up Prefect's log on this terminal, where an error is told once, in words, without its traceback."""
    from prefect.logging.configuration import setup_logging

    from flows.server import require_server as require

    require()
    setup_logging()
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not record.exc_info)


def result_of(state: "State[Any]") -> Any:
    """What the flow returned; raises what it raised."""
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        return result
    tell_page(state)
    if isinstance(result, NightshiftError):
        raise result
    raise GenerationError(state.message or f"the run ended as {state.name}") from (
        result if isinstance(result, BaseException) else None
    )


def end_with(state: "State[Any]") -> None:
    """Prints what became of each partition; ends the process with the worst of their statuses."""
    outcomes: Any = state.result(raise_on_failure=False)
    if not isinstance(outcomes, list):
        result_of(state)
    for item in outcomes:
        console.print(f"{item.date} {item.job}: {item.outcome}", style="bold", markup=False, end="")
        console.print(f"  {item.message}", markup=False)
    tell_page(state)
    statuses = {VALUES[item.outcome] for item in outcomes}
    if statuses - {0}:
        sys.exit(min(statuses - {0}))


def tell_page(state: "State[Any]") -> None:
    from flows.server import run_page

    console.print(f"Prefect run: {run_page(str(state.state_details.flow_run_id))}", markup=False, soft_wrap=True)
