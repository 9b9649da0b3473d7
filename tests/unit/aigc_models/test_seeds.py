from aigc_models.seeds import derive_seed, mix


def test_the_mixer_gives_the_published_values_of_splitmix64() -> None:
    assert mix(0) == 0xE220A8397B1DCDAF
    assert mix(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


def test_derived_seeds_differ_and_fit_into_int64() -> None:
    seeds = {derive_seed(seed, counter) for seed in (-1, 0, 1) for counter in range(100)}
    assert len(seeds) == 300
    assert all(-(2**63) <= seed < 2**63 for seed in seeds)
