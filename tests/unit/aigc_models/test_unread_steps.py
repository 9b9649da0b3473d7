"""Steps of training that read nothing back: on a GPU whoever reads waits until everything before has been computed."""

from typing import Any

import pytest
import torch
from data_parallel_cases import CPU, recommender, text
from image_cases import LABEL_NAMES, TINY, squares
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from aigc_models.flow import LatentFlow
from aigc_models.image_classifier import train_classifier
from aigc_models.image_families import ImageNetwork, build_image_network
from aigc_models.image_settings import default_image_settings
from aigc_models.image_tasks import ImageCorpus, autoencoder_task, generator_task
from aigc_models.image_training import autoencoder_settings, what_is_trained
from aigc_models.loop import Step, Task, build_step

READING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "item"}


class Unread(TorchDispatchMode):
    """Refuses what makes a GPU's driver wait: values that Python asks for, and shapes that depend on values."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        is_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        assert name not in READING, f"{name} reads"
        assert not is_mask, f"{name} by a mask reads how many there are"
        return function(*args, **(kwargs or {}))


def begun(task: Task, network: torch.nn.Module, settings: Any) -> Step:
    step = build_step(network.train(), task, settings)
    step(task.batch_at(0))  # makes the moments
    return step


def image_step(family: str) -> tuple[Task, Step]:
    settings, network = default_image_settings(family, batch_size=8, shift_px=2, augment=True), image_network(family)
    task = generator_task(corpus(), network, settings)
    return task, begun(task, what_is_trained(network, settings), settings)


def image_network(family: str) -> ImageNetwork:
    return build_image_network(family, {"image_px": 28, "num_colours": 1, "num_classes": 2}, TINY[family])


def corpus() -> ImageCorpus:
    data = squares(40)
    classifier = train_classifier([data], 2, steps=2).requires_grad_(False)
    return ImageCorpus(data, squares(20, seed=1), classifier, LABEL_NAMES, CPU)


def assert_unread(task: Task, step: Step) -> None:
    batch = task.batch_at(1)
    with Unread():
        losses, num = step(batch)
    assert num > 0
    assert all(isinstance(loss, Tensor) and torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("family", ["gpt", "lstm", "gru", "rnn"])
def test_a_step_of_texts_reads_nothing_back(family: str) -> None:
    case = text(family)
    assert_unread(case.task, begun(case.task, case.network, case.settings))


@pytest.mark.parametrize("family", ["gpt", "gru", "bert"])
def test_a_step_of_a_recommender_reads_nothing_back(family: str) -> None:
    case = recommender(family)
    assert_unread(case.task, begun(case.task, case.network, case.settings))


@pytest.mark.parametrize("family", ["vae", "gan", "flow"])
def test_a_step_of_pictures_reads_nothing_back(family: str) -> None:
    assert_unread(*image_step(family))


def test_a_step_of_a_flows_autoencoder_reads_nothing_back() -> None:
    network, settings = image_network("flow"), autoencoder_settings(default_image_settings("flow", batch_size=8))
    assert isinstance(network, LatentFlow)
    task = autoencoder_task(corpus(), settings)
    assert_unread(task, begun(task, network.vae, settings))


def test_what_reads_is_found() -> None:
    with Unread(), pytest.raises(AssertionError, match="reads"):
        float(torch.ones(()))
    with Unread(), pytest.raises(AssertionError, match="by a mask"):
        torch.ones(3)[torch.ones(3) > 0]
