import pytest

from infra.errors import GenerationError
from workers.training.train_actor import require_compiler


def test_without_a_compiler_a_compiled_training_fails_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = pytest.importorskip("torch._inductor.config")
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(
        GenerationError, match=r"needs a C\+\+ compiler on 10\.0\.0\.7: .*g\+\+.*no-such-compiler"
    ):
        require_compiler("10.0.0.7")
