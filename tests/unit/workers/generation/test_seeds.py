from workers.generation.seeds import attempt_seed, row_seed, row_seeds


def test_a_seed_depends_only_on_the_run_seed_and_the_row_id() -> None:
    assert row_seeds(0, ["a", "b"]) == [row_seed(0, "a"), row_seed(0, "b")]
    assert len({row_seed(run, row) for run in range(10) for row in ("a", "b", "0a")}) == 30


def test_seeds_fit_a_signed_64_bit_column() -> None:
    assert all(0 <= row_seed(0, str(number)) < 2**63 for number in range(1000))


def test_each_attempt_has_its_own_seed_and_the_first_uses_the_run_seed() -> None:
    assert attempt_seed(7, 1) == 7
    seeds = {
        row_seed(attempt_seed(run, attempt), "a") for run in range(5) for attempt in range(1, 6)
    }
    assert len(seeds) == 25
