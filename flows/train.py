"""The training flow: trains a model version and compares it with the champion."""

from typing import Annotated

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.parameters import (
    DateText,
    ModelName,
    SettingsText,
    resolve_date,
    run_name,
    split_assignments,
    titled,
)
from flows.run_page.progress import Stage
from flows.run_page.traces import show_traces
from flows.server.health import ending_with_server, show_in_ui, tag_run
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from workers.actors.messages import LogLine, Watcher
from workers.inputs.snapshot import while_files_change
from workers.registry.versions import ModelVersion
from workers.training.train import challenge, plan_training
from workers.training.train import train as train_on_ray
from workers.training.train_actor import Training


@task(name="train", cache_policy=NO_CACHE)
def train_version(storage: Storage, training: Training) -> ModelVersion:
    settings = load_settings()
    what = f"training {training.name} ({training.settings.family})"
    with Stage(what, 1.0, "training-progress", unit="") as stage:
        watcher = Watcher(stage.line, stage.update)
        return train_on_ray(settings, storage, training, watcher)


@task(name="challenge the champion", cache_policy=NO_CACHE)
def challenge_champion(storage: Storage, version: ModelVersion) -> bool:
    logger = get_run_logger()

    def write(line: LogLine) -> None:
        logger.log(line.level, line.text)

    return challenge(storage, version, write)


@flow(name="train", flow_run_name=lambda: run_name("model"), validate_parameters=True)
@ending_with_server()
def train(
    model: Annotated[ModelName, titled("Model")],
    date: DateText = "",
    family: Annotated[str, titled("Family")] = "",
    settings: SettingsText = "",
    quick: Annotated[bool, titled("Quick")] = False,
    force: Annotated[bool, titled("Train again")] = False,
) -> ModelVersion:
    """Trains on the data up to the end of a date; the result becomes champion if it beats the
    current one on held-out data.

    Returns the new champion, or the first version trained if none of them is champion.

    Args:
        model: What to train.
        date: YYYY-MM-DD, the last day of the training data. Empty: the day before the scheduled
            start (UTC).
        family: gpt, lstm, gru or rnn for texts; flow, gan or vae for pictures; gpt, gru or bert for
            recommenders. Several, separated by commas, are trained one after another and compete.
            Empty: the model's default.
        settings: Training settings to change, as key=value, separated by spaces or line breaks.
        quick: Train a small model in half a minute, for a first look at regular examples.
        force: Train again even if a version with the same data and settings exists.
    """
    storage = open_storage(load_settings(), is_in_use=bool(flow_run.parent_flow_run_id))
    day = resolve_date(date)
    changes = split_assignments(settings)
    tag_run("train", model, day.isoformat())
    families = [name.strip() for name in family.split(",")]
    trainings = while_files_change(
        lambda: [
            plan_training(storage, model, name, day, changes, quick=quick, again=force)
            for name in families
        ]
    )
    best = None
    for training in trainings:
        version = train_version(storage, training)
        show_traces(storage, version.prefix, "training-traces")
        is_champion = challenge_champion(storage, version)
        show_version(version, is_champion=is_champion)
        if is_champion or best is None:
            best = version
    assert best is not None
    return best


def show_version(version: ModelVersion, *, is_champion: bool) -> None:
    """Shows the version's metrics on the run's page."""
    metrics = sorted(version.metrics.items())
    rows = [{"figure": name, "value": f"{value:.4g}"} for name, value in metrics]
    role = "champion" if is_champion else "challenger"
    title = f"{version.version}: {role}"
    show_in_ui(lambda: create_table_artifact(rows, key="model-metrics", description=title))
    get_run_logger().info(title)
