from aigc_models.training.batching import BatchSchedule, in_batches

LENGTHS = [(i % 3 + 1, i % 17 + 2) for i in range(200)]


def test_every_row_is_in_one_batch_and_batches_keep_their_size() -> None:
    batches = in_batches(LENGTHS, 100)
    assert sorted(row for rows in batches for row in rows) == list(range(200))
    for rows in batches:
        widest = max(LENGTHS[row][0] for row in rows) + max(LENGTHS[row][1] for row in rows)
        assert len(rows) * widest <= 100 or len(rows) == 1


def test_a_row_longer_than_a_batch_is_a_batch_by_itself() -> None:
    assert in_batches([(1, 501), (1, 2)], 100) == [[1], [0]]
    assert in_batches([(501,), (2,)], 100) == [[1], [0]]


def test_every_epoch_has_every_row_once_in_another_order() -> None:
    schedule = BatchSchedule(LENGTHS, 100, seed=0)
    first = schedule.epoch(0)
    steps = [schedule.rows_at(step) for step in range(2 * len(first))]
    assert steps[: len(first)] == first
    assert sorted(row for rows in first for row in rows) == list(range(200))
    assert steps[len(first) :] != first
    assert BatchSchedule(LENGTHS, 100, seed=0).rows_at(len(first) + 1) == steps[len(first) + 1]
    assert BatchSchedule(LENGTHS, 100, seed=1).epoch(0) != first


def test_an_earlier_step_can_be_asked_for_again() -> None:
    schedule = BatchSchedule(LENGTHS, 100, seed=0)
    first = schedule.rows_at(0)
    schedule.rows_at(3 * len(schedule.epoch(0)))
    assert schedule.rows_at(0) == first
