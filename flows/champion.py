"""The flows that change a model's champion by hand, from the forms of the Prefect UI."""

from typing import Annotated

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.parameters import ModelName, titled
from infra.settings import load_settings
from infra.storage import open_storage
from workers.registry.versions import Champion, roll_back
from workers.registry.versions import promote as promote_version


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{parameters.get('model')} · {parameters.get('version', 'the previous champion')}"


@flow(name="promote", flow_run_name=_run_name)
def promote(
    model: Annotated[ModelName, titled("Model")], version: Annotated[str, titled("Version")]
) -> Champion:
    """Makes a version the champion that nights use.

    Args:
        model: The model.
        version: A version that `nightshift models` lists, such as 2026-11-22-gpt-1a2b3c4d.
    """
    champion = promote_version(open_storage(load_settings()), model, version, "promoted by hand")
    get_run_logger().info(
        f"{champion.version} is now the champion of {model} (before: {champion.previous})"
    )
    return champion


@flow(name="rollback", flow_run_name=_run_name)
def rollback(model: Annotated[ModelName, titled("Model")]) -> Champion:
    """Makes the previous champion the champion again.

    Args:
        model: The model.
    """
    champion = roll_back(open_storage(load_settings()), model)
    get_run_logger().info(
        f"{champion.version} is the champion of {model} again (before: {champion.previous})"
    )
    return champion
