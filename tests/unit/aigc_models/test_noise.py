import pytest
import torch

from aigc_models.noise import derive_seeds, mix_tensor, normals, uniforms
from aigc_models.seeds import derive_seed, mix, signed


def test_tensors_are_mixed_as_integers_are() -> None:
    values = [0, 1, -1, 2**63 - 1, -(2**63), 123_456_789_012_345]
    assert mix_tensor(torch.tensor(values)).tolist() == [signed(mix(value)) for value in values]


def test_uniforms_lie_in_the_unit_interval_and_look_uniform() -> None:
    drawn = torch.stack([uniforms(torch.arange(1000), step) for step in range(20)])
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert abs(float(drawn.mean()) - 0.5) < 0.01
    assert abs(float(drawn.var()) - 1 / 12) < 0.002
    correlation = torch.corrcoef(drawn)
    assert float((correlation - torch.eye(20)).abs().max()) < 0.15


def test_a_row_draws_the_same_in_any_batch() -> None:
    seeds = torch.tensor([5, -9, 2**62])
    assert uniforms(seeds, 3)[1:2].equal(uniforms(seeds[1:2], 3))


def test_seeds_are_derived_on_tensors_as_on_integers() -> None:
    assert derive_seeds(torch.tensor([-1, 7]), 3).tolist() == [
        derive_seed(-1, 3),
        derive_seed(7, 3),
    ]


def test_normal_numbers_are_normal_and_belong_to_their_seed() -> None:
    seeds_B = torch.arange(20_000)
    numbers_BW = normals(seeds_B, 4)
    assert torch.equal(normals(seeds_B[7:9], 2), numbers_BW[7:9, :2])
    torch.testing.assert_close(numbers_BW.mean(dim=0), torch.zeros(4), rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(numbers_BW.T), torch.eye(4), rtol=0, atol=0.03)
    assert float((numbers_BW.abs() < 1.0).double().mean()) == pytest.approx(0.6827, abs=0.005)
