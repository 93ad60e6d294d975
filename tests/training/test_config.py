"""Configurations: plain values in and out, and one clear line for what isn't allowed."""

import dataclasses
import json

import pytest

from jaxvae.parameterizations import exp_linear_std
from jaxvae.training.config import TrainConfig, config_from_mapping, read_config
from jaxvae.training.latents import make_encoder_std


def test_json_and_back(tmp_path):
    config = TrainConfig(hidden=(7, 5), clip_norm=2.0, validation=3, conditional=True, beta=0.5)
    path = tmp_path / "config.json"
    path.write_text(config.to_json())
    assert read_config(path) == config
    assert json.loads(config.to_json())["hidden"] == [7, 5]


def test_an_alias_is_a_parameterization(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"parameterization": "dehaene_exp_linear", "likelihood_parameterization": "dehaene_exp_linear"}')
    config = read_config(path)
    assert make_encoder_std(config).parameterization == exp_linear_std
    assert config.parameterization == "dehaene_exp_linear"  # as written, so that an old run is resumed


def test_what_is_said_of_columns_is_kept_in_place_of_its_file(tmp_path):
    path = tmp_path / "kinds.toml"
    path.write_text('stage = ["low", "high"]\nage = "count"\n')
    config = TrainConfig(kinds=str(path), missing=("?",), header=True)
    path.unlink()
    assert config.kinds == '{"stage": ["low", "high"], "age": "count"}'
    assert config_from_mapping(json.loads(config.to_json())) == config
    assert (config.reading.kinds, config.reading.missing) == (config.kinds, ("?",))
    with pytest.raises(ValueError, match=r"kinds: age must be one of real, .*, got 'counts'"):
        TrainConfig(kinds='{"age": "counts"}')
    with pytest.raises(FileNotFoundError):
        TrainConfig(kinds=str(path))


def test_what_is_missing_keeps_its_default():
    assert config_from_mapping({"latents": 3}) == TrainConfig(latents=3)
    assert config_from_mapping({}) == TrainConfig()


def test_integers_pass_for_floats_and_null_for_none():
    config = config_from_mapping({"beta": 2, "clip_norm": None, "ema_decay": 0})
    assert config.beta == 2.0
    assert isinstance(config.beta, float)
    assert config.clip_norm is None
    assert config.ema_decay == 0.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"latnets": 3}, ("latnets", "latents")),
        ({"latents": "3"}, ("latents", "'3'", "int")),
        ({"latents": 3.0}, ("latents", "3.0", "int")),
        ({"latents": True}, ("latents", "True", "int")),
        ({"latents": 0}, ("latents", "0", "at least 1")),
        ({"conditional": 1}, ("conditional", "1", "bool")),
        ({"hidden": 5}, ("hidden", "5", "list")),
        ({"hidden": [5, "x"]}, ("hidden", "'x'", "int")),
        ({"parameterization": "log_variances"}, ("parameterization", "log_variances", "log_variance")),
        ({"likelihood_parameterization": "none"}, ("parameterization", "none")),
        ({"likelihood": "gauss"}, ("likelihood", "gauss", "bernoulli")),
        ({"binarization": "often"}, ("binarization", "often", "dynamic")),
        ({"architecture": "vit"}, ("architecture", "vit", "mlp, conv")),
        ({"activation": "step"}, ("activation", "step", "tanh")),
        ({"dtype": "float8"}, ("dtype", "float8", "bfloat16")),
        ({"beta_schedule": "up"}, ("beta_schedule", "up", "cyclical")),
        ({"learning_rate_decay": "up"}, ("learning_rate_decay", "up", "cosine")),
        ({"free_bits": -1}, ("free_bits", "-1", "at least 0")),
        ({"likelihood_std": 0}, ("likelihood_std", "0", "above 0")),
        ({"ema_decay": 1}, ("ema_decay", "1", "below 1")),
        ({"ema_decay": 0.9999999999999999}, ("ema_decay", "0.9999999999999999", "in float32, too")),
        ({"beta": 1e308}, ("beta", "1e+308", "float32")),
        ({"adam_eps": 1e-320}, ("adam_eps", "1e-320", "float32")),
        ({"clip_norm": 1e-320}, ("clip_norm", "1e-320", "float32")),
        ({"evaluate_every": 0}, ("evaluate_every", "0", "at least 1")),
        ({"seed": -1}, ("seed", "-1", "2³²")),
        ({"beta": float("nan")}, ("beta", "nan", "finite")),
        ({"epochs": 0}, ("epochs", "0", "at least 1")),
        ({"beta": -1}, ("beta", "-1", "at least 0")),
        ({"beta_ramp": 2}, ("beta_ramp", "2", "(0, 1]")),
        ({"adam_b1": 1}, ("adam_b1", "1", "below 1")),
        ({"clip_norm": 0}, ("clip_norm", "0", "above 0")),
    ],
)
def test_refused_in_one_line_that_names_field_value_and_what_is_allowed(values, words):
    with pytest.raises(ValueError, match=r".") as error:
        config_from_mapping(values)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["", "[1]", '{"latents": 3', "3"])
def test_a_file_that_is_no_object_is_refused_by_its_path(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine.json"):
        read_config(path)


def test_a_bad_value_in_a_file_is_refused_with_its_path(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"latents": 0}')
    with pytest.raises(ValueError, match=r"mine\.json: latents must be at least 1, got 0"):
        read_config(path)
    with pytest.raises(ValueError, match=r"none\.json"):
        read_config(tmp_path / "none.json")


def test_evaluations_are_a_twentieth_of_the_epochs_apart_unless_told():
    assert [TrainConfig(epochs=n).epochs_between_evaluations for n in (1, 19, 40, 200)] == [1, 1, 2, 10]
    assert TrainConfig(epochs=200, evaluate_every=7).epochs_between_evaluations == 7


def test_every_field_has_a_help():
    for field in dataclasses.fields(TrainConfig):
        assert len(field.metadata["help"]) > 3, field.name


def test_a_byte_order_mark_is_no_harm(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + config_from_mapping({"latents": 3}).to_json().encode())
    assert read_config(tmp_path / "config.json") == config_from_mapping({"latents": 3})
