import pytest

from jaxvae.study.presets import PRESETS, STAGED
from jaxvae.training import TrainConfig

every_preset = pytest.mark.parametrize("name", PRESETS)


@every_preset
def test_every_line_is_a_configuration_of_its_own(name):
    preset = PRESETS[name]()
    configs = {row: preset.config(row) for row in preset.rows}
    assert len(set(configs.values())) == len(configs)
    for config in configs.values():
        assert isinstance(config, TrainConfig)
        assert config.parameterization == preset.parameterization
    text = PRESETS[name].__doc__
    assert "Expected" in text
    assert all(f"{row.published:.2f}" in text or str(row.published) in text for row in preset.rows.values())


def test_the_protocol_of_the_iwae_paper():
    config = STAGED["iwae-1l"](5).config("iwae-5")
    assert config.epochs == 1 + 3 + 9 + 27 + 81
    assert (config.latents, config.hidden, config.activation) == (50, (200, 200), "tanh")
    assert (config.objective, config.train_samples, config.samples) == ("iwae", 5, 5000)
    # On means over batches of 20 what ε = 1e-4 and a second moment of 1 are on sums.
    assert (config.batch_size, config.adam_b1) == (20, 0.99)
    assert config.adam_eps * 20 == pytest.approx(1e-4)
    assert config.adam_second_moment * 20**2 == pytest.approx(1)
    assert PRESETS["iwae-1l"]().config("vae-1").epochs == 3280


def test_the_two_layer_model():
    config = PRESETS["iwae-2l"]().config("vae-50")
    assert (config.latents, config.upper_latents, config.upper_hidden) == (100, (50,), (100, 100))
    assert (config.inference, config.objective, config.train_samples) == ("bottom_up", "sampled_elbo", 50)


def test_fields_may_be_changed():
    config = PRESETS["jaanli"]().config("mean-field", parameterization="log_variance", samples=3)
    assert (config.parameterization, config.samples, config.optimizer) == ("log_variance", 3, "rmsprop")


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="rows must be one of vae-1, vae-5, vae-50, iwae-5, iwae-50, got 'iwae-1'"):
        PRESETS["iwae-1l"]().config("iwae-1")
    with pytest.raises(ValueError, match="stages must be from 1 to 8, got 0"):
        STAGED["iwae-2l"](0)
