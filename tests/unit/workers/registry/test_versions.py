from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import InputError, PreconditionFailed
from infra.settings import Settings
from infra.storage import Storage, open_storage
from workers.registry.versions import (
    ModelVersion,
    choose_version,
    list_versions,
    name_version,
    policies,
    promote,
    publish_version,
    read_champion,
    read_versions,
    roll_back,
)
from workers.training.train import challenge


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}/store"))


def add_version(
    storage: Storage, tmp_path: Path, through: str, bleu: float = 0.5, errors: float = 0.0
) -> ModelVersion:
    folder = tmp_path / "checkpoint"
    folder.mkdir(exist_ok=True)
    (folder / "weights.safetensors").write_text(f"{through} {bleu} {errors}")
    name, sha256 = name_version(folder, "gpt", through)
    version = ModelVersion(
        name="copywriter",
        version=name,
        family="gpt",
        through=through,
        weights_sha256=sha256,
        training=sha256[:16],
        trained_on={},
        metrics={"bleu": bleu, "texts_with_error_share": errors},
    )
    publish_version(storage, folder, version)
    return version


def silent(line: object) -> None:
    """Ignores log lines."""


def test_versions_are_listed_oldest_data_first(storage: Storage, tmp_path: Path) -> None:
    newer, older = (
        add_version(storage, tmp_path, "2026-11-22"),
        add_version(storage, tmp_path, "2026-11-01"),
    )
    assert list_versions(storage, "copywriter") == [older, newer]


def test_a_folder_without_its_metrics_is_not_a_version(storage: Storage, tmp_path: Path) -> None:
    version = add_version(storage, tmp_path, "2026-11-22")
    storage.delete([f"{version.prefix}metrics.json"])
    assert list_versions(storage, "copywriter") == []


def test_policies_choose_champion_as_of_or_a_named_version(
    storage: Storage, tmp_path: Path
) -> None:
    assert choose_version(storage, "copywriter", "champion", "2026-11-22") is None
    older, newer = (
        add_version(storage, tmp_path, "2026-11-01"),
        add_version(storage, tmp_path, "2026-11-20"),
    )
    promote(storage, "copywriter", older.version, "test")
    assert choose_version(storage, "copywriter", "champion", "2026-11-22") == older
    assert choose_version(storage, "copywriter", "as-of", "2026-11-22") == newer
    assert choose_version(storage, "copywriter", "as-of", "2026-11-19") == older
    assert choose_version(storage, "copywriter", "as-of", "2026-10-31") is None
    assert choose_version(storage, "copywriter", newer.version, "2026-11-22") == newer
    with pytest.raises(InputError, match="has no version 'v9'; there are 2026-11-01-gpt"):
        choose_version(storage, "copywriter", "v9", "2026-11-22")


def test_a_version_of_one_of_several_models_leaves_the_others_to_their_champions(
    storage: Storage, tmp_path: Path
) -> None:
    version = add_version(storage, tmp_path, "2026-11-01").version
    both = [read_versions(storage, name) for name in ("recommender", "copywriter")]
    assert policies(both, "champion") == ["champion", "champion"]
    assert policies(both, "as-of") == ["as-of", "as-of"]
    assert policies(both, version) == ["champion", version]
    assert policies(both[1:], version) == [version]
    with pytest.raises(
        InputError, match="model copywriter has no version 'v9'; there are 2026-11-01-gpt"
    ):
        policies(both, "v9")


def test_only_a_better_challenger_becomes_champion(storage: Storage, tmp_path: Path) -> None:
    first = add_version(storage, tmp_path, "2026-11-01", bleu=0.5, errors=0.1)
    assert challenge(storage, first, silent)
    fluent_but_wrong = add_version(storage, tmp_path, "2026-11-02", bleu=0.52, errors=0.2)
    assert not challenge(storage, fluent_but_wrong, silent)
    better = add_version(storage, tmp_path, "2026-11-03", bleu=0.51, errors=0.0)
    assert challenge(storage, better, silent)
    found = read_champion(storage, "copywriter")
    assert found is not None
    assert (found.version, found.champion.previous) == (better.version, first.version)


def test_champion_and_challenger_are_scored_on_the_same_texts(
    storage: Storage, tmp_path: Path
) -> None:
    champion = add_version(storage, tmp_path, "2026-11-01", bleu=0.9)
    challenge(storage, champion, silent)
    on_harder_texts = add_version(storage, tmp_path, "2026-11-02", bleu=0.5)
    met = {champion.version: {"bleu": 0.4, "texts_with_error_share": 0.0}}
    assert challenge(storage, replace(on_harder_texts, rivals=met), silent)


def test_rolling_back_goes_to_the_champion_before(storage: Storage, tmp_path: Path) -> None:
    older, newer = (
        add_version(storage, tmp_path, "2026-11-01"),
        add_version(storage, tmp_path, "2026-11-20"),
    )
    promote(storage, "copywriter", older.version, "test")
    with pytest.raises(InputError, match="no earlier champion"):
        roll_back(storage, "copywriter")
    promote(storage, "copywriter", newer.version, "test")
    promote(storage, "copywriter", newer.version, "twice, by somebody who did not know")
    assert roll_back(storage, "copywriter").version == older.version


def test_a_challenger_is_compared_with_the_champion_it_replaces(
    storage: Storage, tmp_path: Path
) -> None:
    bleu = {"2026-11-01": 0.6, "2026-11-20": 0.8, "2026-11-21": 0.7, "2026-11-22": 0.9}
    old, best, good, later = [
        add_version(storage, tmp_path, day, bleu=value) for day, value in bleu.items()
    ]
    busy = _PromotesMeanwhile(storage, best.version)
    assert not challenge(busy, good, silent)  # type: ignore[arg-type]  # as the first one, and there is a better one
    promote(storage, "copywriter", old.version, "test")
    assert not challenge(busy, good, silent)  # type: ignore[arg-type]  # better than the champion it met
    promote(storage, "copywriter", old.version, "test")
    assert challenge(busy, later, silent)  # type: ignore[arg-type]
    found = read_champion(storage, "copywriter")
    assert found is not None
    assert (found.version, found.champion.previous) == (later.version, best.version)


class _PromotesMeanwhile:
    """The real store, where another writer changes the champion just before we do."""

    def __init__(self, storage: Storage, version: str) -> None:
        self._storage, self._version = storage, version

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)

    def put(self, key: str, data: bytes, **options: str) -> str:
        promote(self._storage, "copywriter", self._version, "first")
        return self._storage.put(key, data, **options)  # type: ignore[arg-type]


def test_of_two_promotions_at_once_one_fails(storage: Storage, tmp_path: Path) -> None:
    older, newer = (
        add_version(storage, tmp_path, "2026-11-01"),
        add_version(storage, tmp_path, "2026-11-20"),
    )
    with pytest.raises(PreconditionFailed, match="has just changed the champion of copywriter"):
        promote(_PromotesMeanwhile(storage, older.version), "copywriter", newer.version, "second")  # type: ignore[arg-type]
    found = read_champion(storage, "copywriter")
    assert found is not None
    assert found.version == older.version
