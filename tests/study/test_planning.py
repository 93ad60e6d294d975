import dataclasses

import jax
import numpy as np
import pytest

from jaxvae import data
from jaxvae.study import planning
from jaxvae.study.grid import groups
from jaxvae.study.results import cell, plain
from jaxvae.study.shards import ALONE, Shard
from jaxvae.study.sweep import cell_mesh
from jaxvae.training import TrainConfig, make_experiment
from jaxvae.training.devices import one_device

GRID = {
    "parameterization": ("log_variance", "softplus_std"),
    "hidden": ((8,),),
    "latents": (2,),
    "batch_size": (80,),
    "samples": (5,),
    "learning_rate": (1e-3, 1e-2),
}


def cells_of(*args):
    return planning.cells_of(*args)[0]


@pytest.fixture
def unvalidated(monkeypatch):
    """The digits, if they had no validation images."""
    whole = dataclasses.replace(data.load("digits"), validation=None)
    monkeypatch.setattr(planning, "load_data", lambda config: whole)


def test_cells_have_what_follows_from_the_data():
    cells = cells_of(GRID, [])
    assert {(c.likelihood, c.binarization, c.validation) for c in cells} == {("bernoulli", "dynamic", None)}
    assert len(cells) == 4


def test_data_are_loaded_once_each_and_named_by_what_they_become(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "counts.csv").write_text("a,b\n" + "".join(f"{x},{y}\n" for x, y in rng.poisson(5, (60, 2))))
    asked = []
    load = planning.load_data
    monkeypatch.setattr(planning, "load_data", lambda config: asked.append(config.dataset) or load(config))
    names = ("digits", str(tmp_path / "counts.csv"))
    cells, loaded = planning.cells_of({**GRID, "batch_size": (20,), "dataset": names}, [])
    assert asked == [*names]
    assert {(c.dataset == "digits", c.likelihood) for c in cells} == {(True, "bernoulli"), (False, "negative_binomial")}
    for config in cells:  # a likelihood of counts is one that says how they are read
        dataset = planning.experiment_of(config, loaded).dataset
        assert dataset.image_shape == ((8, 8, 1) if config.dataset == "digits" else (1, 1, 2))
        assert len(dataset.validation) == (200 if config.dataset == "digits" else 6)
    assert asked == [*names]


def test_validation_images_are_held_out_where_there_are_none(unvalidated):
    assert {c.validation for c in cells_of(GRID, [])} == {129}  # a tenth of 1,297
    assert {c.validation for c in cells_of({**GRID, "validation": (50,)}, [])} == {50}


def test_a_table_that_was_begun_without_validation_images_goes_on_without(unvalidated):
    known = [{"config": {"dataset": "digits", "validation": None}}]
    assert {c.validation for c in cells_of(GRID, known)} == {None}
    known = [{"config": {"dataset": "mnist", "validation": None}}]
    assert {c.validation for c in cells_of(GRID, known)} == {129}


def test_what_is_known_is_not_lacking():
    cells = cells_of(GRID, [])
    known = [{"config": plain(config)} for config in cells[:3]]
    assert planning.lacking(groups(cells), known) == [cells[3:]]
    assert planning.lacking(groups(cells), [{"config": plain(config)} for config in cells]) == []
    assert {cell(r["config"]) for r in known} < {cell(plain(config)) for config in cells}


@pytest.mark.slow
def test_groups_are_dealt_whatever_is_known():
    cells, loaded = planning.cells_of({**GRID, "seed": (0, 1), "latents": (2, 3)}, [])
    dealt = [planning.dealt(cells, loaded, Shard(i, 3)) for i in (1, 2, 3)]
    assert sorted(str(group) for share in dealt for group in share) == sorted(map(str, groups(cells)))
    assert planning.dealt(cells, {}, ALONE) == groups(cells)


def test_costs_follow_cells_epochs_and_sizes():
    loaded = planning.cells_of(GRID, [])[1]
    one = TrainConfig(hidden=(8,), latents=2, batch_size=80, epochs=4, samples=1, evaluate_every=4)
    wide, longer = dataclasses.replace(one, hidden=(400,)), dataclasses.replace(one, epochs=40, evaluate_every=40)
    small, double, large, long = planning.costs([[one], [one, one], [wide], [longer]], loaded)
    assert double == 2 * small
    assert 5 < large / small < 50  # of weights 50 times as many, and noise and sums beside them
    assert long / small == pytest.approx(10, rel=0.1)  # scoring is the same
    assert planning.costs([[one, one], [dataclasses.replace(one, parameterization="log_std")]], {}) == [2, 1]


def test_a_cell_s_steps_have_its_scoring_with_them():
    config = TrainConfig(hidden=(8,), latents=2, batch_size=80, epochs=4, samples=6, evaluate_every=2)
    # 2 ELBOs of 300 images, and 3 forwards for each of 500 images, in thirds of steps of 80.
    assert planning._steps(make_experiment(config, one_device())) == pytest.approx(4 * 16 + (600 + 1500) / 240)


@pytest.mark.slow
def test_an_estimate_counts_cells_groups_and_parameters(monkeypatch):
    monkeypatch.setattr(planning, "step_cost", lambda *_: 0.5)
    grid = {**GRID, "seed": (0, 1, 2, 3, 4), "epochs": (2,)}
    cells, loaded = planning.cells_of(grid, [])
    (found,) = planning.estimates(groups(cells), loaded, cell_mesh())
    assert (found.name, found.groups, found.cells) == ("digits, mlp 8, 2 latents, float32", 2, 20)
    experiment = make_experiment(TrainConfig(hidden=(8,), latents=2), one_device())
    shapes = jax.eval_shape(lambda: experiment.begin(0)).params
    assert found.parameters == sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes))
    # Ten cells on eight devices, two at a time: one round for each group.
    assert found.seconds == pytest.approx(2 * 0.5 * planning._steps(make_experiment(cells[0], one_device())))
    assert found.compilation > 0
    assert found.memory > 1297 * 64  # the images, at least
