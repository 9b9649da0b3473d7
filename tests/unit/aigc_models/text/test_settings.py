import pytest

from aigc_models.text.settings import FAMILIES, QUICK, TrainingSettings, default_settings


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_settings_that_can_be_changed(family: str) -> None:
    settings = default_settings(family, max_steps=7)
    assert settings.family == family
    assert settings.max_steps == 7
    assert settings.network_options()["width"] == settings.width


def test_the_quick_settings_are_a_small_gpt() -> None:
    assert default_settings(**QUICK).width < default_settings("gpt").width


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="family must be one of"):
        TrainingSettings(family="bert")
    with pytest.raises(ValueError, match="family must be one of"):
        default_settings("bert")
    with pytest.raises(ValueError, match="validation_share"):
        TrainingSettings(validation_share=1.0)
    with pytest.raises(ValueError, match="max_repeats"):
        TrainingSettings(max_repeats=0)
