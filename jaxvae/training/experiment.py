"""Experiments: the data, model, loss and optimizer that a configuration names."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jaxvae.arguments import require
from jaxvae.data import (
    DataContract,
    Dataset,
    Origin,
    Split,
    binarize,
    contract_of,
    hold_out,
    load,
    load_again,
    observe,
    origin_of,
    report,
)
from jaxvae.data.missing import observed_mean
from jaxvae.likelihoods import COMPOSITIONS, OptimalGaussian, likelihood
from jaxvae.models import Condition, LatentModel, Terms, make_model
from jaxvae.objectives import beta_schedule, dual_ascent, elbo, free_bits, lagrangian, lower_bound_violation
from jaxvae.parameterizations import parameterization
from jaxvae.training.bounds import BOUNDS, log_weights
from jaxvae.training.config import TrainConfig
from jaxvae.training.defaults import LIKELIHOOD_STD, activation_of, cautions, in_columns, resolved
from jaxvae.training.devices import copies, data_mesh, memory
from jaxvae.training.directory import Kept
from jaxvae.training.latents import make_encoder_std
from jaxvae.training.modelling import COLUMNS, columns_likelihood, in_units, modelled, seen_as
from jaxvae.training.optimizers import learning_rate_schedule, make_optimizer
from jaxvae.training.scoring import Task, mean_squared_error, score_keys
from jaxvae.training.start import frozen, path_name
from jaxvae.training.step import Metrics, TrainState, init_state

_MULTIPLIERS = "multipliers"
_SEEN: Mapping[str, str] = {
    "none": "as they are",
    "dynamic": "as 0 or 1, drawn anew in each step (dynamic binarization)",
    "threshold": "as 0 or 1, by a threshold at half of the range",
    "fixed": "as 0 or 1, drawn once (fixed binarization)",
}
_FIT_IMAGES = 10_000  # training images to which a likelihood's scalar is fitted


class Experiment(NamedTuple):
    """The data, model, loss and optimizer that a configuration names.

    Attributes:
        config: the configuration.
        mesh: the devices.
        dataset: the data to train on.
        scored: the validation split (if there is one) and the test split, as they are scored.
        contract: what images are allowed, and how the model sees them.
        model: the Flax module.
        tx: the optimizer.
        learning_rate: the learning rate as a function of the step.
        beta: β as a function of the step.
        bound: the lower bound that Lagrange multipliers put on the encoder's raw outputs, or None.
        start: initial parameters, by path, that replace random ones; from ``transferred``.
        taken: a function that returns lines on how the data were read.
    """

    config: TrainConfig
    mesh: Mesh
    dataset: Dataset
    scored: Mapping[str, Split]
    contract: DataContract
    model: LatentModel
    tx: optax.GradientTransformation
    learning_rate: optax.Schedule
    beta: optax.Schedule
    bound: float | None = None
    start: Mapping[str, np.ndarray] = MappingProxyType({})
    taken: Callable[[], list[str]] = list

    @property
    def kept(self) -> Kept:
        """The description of the data that a run stores."""
        origin = origin_of(self.dataset, self.config.data_dir)
        return Kept(self.contract, origin, mean_image(self.dataset))

    @property
    def report(self) -> list[str]:
        """Returns lines on how the data were read and how the model sees them, with warnings last."""
        config, scaled = self.config, ""
        low, high = self.contract.reading.value_range or (0, 1)
        if (low, high) != (0, 1):
            scaled = f", scaled from [{low:g}, {high:g}] to [0, 1]"
        elif self.levels is not None and not self.contract.binary:
            scaled = f", divided by {self.levels - 1}"
        seen = _SEEN[config.binarization]
        missing = ", 0 where they are missing, and which these are" if self.contract.missing else ""
        given = [*["their labels"] * config.conditional, *[c.name for c in self.contract.covariates]]
        beside = f", given {', '.join(given)}" if given else ""
        streamed = ", read from disk" if config.streaming else ""
        features, product, density = self.contract.features, "", []
        if in_columns(self.contract):
            product = f", {modelled(features)}" if config.likelihood == COLUMNS else ""
            measured = any(feature.measured for feature in features)
            seen = seen_as(features)
            density = ["ELBO and NLL are of the columns in their own units"] if measured else []
        return [
            *self.taken(),
            f"the model sees them {seen}{scaled}{missing}{beside}, in batches of {self.batch_size:,}{streamed}",
            f"p(x|z): {config.likelihood}{product}; σ of q(z|x): {config.parameterization}",
            *density,
            *["ELBO and NLL are of the observed entries"] * self.contract.missing,
            *(f"warning: {text}" for text in cautions(config, self.dataset)),
        ]

    @property
    def levels(self) -> int | None:
        """The grey levels that the model sees."""
        return self.contract.seen_levels

    @property
    def dynamic(self) -> bool:
        """Whether binary pixels are drawn anew in each step."""
        return self.config.binarization == "dynamic"

    @property
    def batch_size(self) -> int:
        """The number of images in a step, over all devices."""
        assert self.config.batch_size is not None
        return self.config.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in an epoch: full batches of the training split."""
        return len(self.dataset.train) // self.batch_size

    @property
    def steps(self) -> int:
        """The number of steps of the whole training."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def metrics(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """The shapes of the metrics of a ``train_step`` with ``loss``; tracing it to find them would take a second."""
        number, count = jax.ShapeDtypeStruct((), jnp.result_type(float)), jax.ShapeDtypeStruct((), jnp.int32)
        names = ("elbo", "log_likelihood", "kl", "beta", "loss", "gradient_norm")
        return {**dict.fromkeys(names, number), "skipped": count}

    def init(self, key: Array) -> chex.ArrayTree:
        """Returns the model's initial parameters, with any multipliers; to be jitted."""
        image = jnp.zeros((1, *self.dataset.image_shape))
        params = self.model.init(key, image, key, self.model.none_given(1))
        return params if self.bound is None else {**params, _MULTIPLIERS: {"raw": jnp.zeros(self.model.latents)}}

    def begin(self, seed: ArrayLike) -> TrainState:
        """Returns the state before the first step; to be jitted."""
        init_key, train_key = jax.random.split(jax.random.key(seed))
        params = jax.tree.map_with_path(lambda path, x: self.start.get(path_name(path), x), self.init(init_key))
        return init_state(params, self.tx, train_key, ema=self.config.ema_decay is not None)

    def with_learning_rate(self, peak: ArrayLike) -> "Experiment":
        """Returns the same experiment with another highest learning rate, which may be traced."""
        config, unit = self.config, _learning_rate(self.config, 1.0, self.steps)
        return self._replace(tx=_optimizer(config, lambda step: peak * unit(step)))

    def loss(self, params: chex.ArrayTree, batch: Any, key: Array) -> tuple[Array, Metrics]:
        """Returns the loss of a train step, and the means of the ELBO (at β = 1, without free bits) and its terms.

        The arguments are those of ``objective``.
        """
        loss, terms = self.objective(params, batch, key)
        return loss, {
            "elbo": jnp.mean(elbo(terms.log_likelihood, terms.kl)),
            "log_likelihood": jnp.mean(terms.log_likelihood),
            "kl": jnp.mean(jnp.sum(terms.kl, axis=-1)),
            "beta": batch["beta"],
        }

    def objective(self, params: chex.ArrayTree, batch: Any, key: Array) -> tuple[Array, Terms]:
        """Returns the loss, which is minus the mean of the bound over the batch, and the terms of the ELBO.

        With Lagrange multipliers, the loss includes each multiplier times its latent's mean violation of the bound on
        raw outputs.

        Args:
            params: the model's parameters, and its multipliers, if any.
            batch: a dict with ``image`` as stored, ``beta`` and, for a model with conditions, ``given``.
            key: a PRNG key.
        """
        pixels, noise = jax.random.split(key)
        x = observe(pixels, batch["image"], self.dataset.levels, self.dynamic)
        bound, terms = self._bound(params, x, noise, batch)
        loss = -jnp.mean(bound)
        if self.bound is not None:
            violation = lower_bound_violation(terms.posterior.raw, self.bound)
            loss = lagrangian(loss, violation, params[_MULTIPLIERS]["raw"])
        return loss, terms

    def _bound(self, params: chex.ArrayTree, x: Array, key: Array, batch: Any) -> tuple[Array, Terms]:
        """Returns the bound (B,) and the terms of the ELBO; a KL in closed form includes free bits."""
        config, model, given = self.config, self.model, batch.get("given")
        if config.objective == "elbo":
            terms = model.apply(params, x, key, given, samples=config.train_samples)
            kl = free_bits(terms.kl, config.free_bits, event_axes=-1) if config.free_bits else terms.kl
            return elbo(terms.log_likelihood, kl, batch["beta"]), terms
        function, path = BOUNDS[config.objective]
        noise = jax.random.normal(key, (config.train_samples, x.shape[0], model.latents))
        weights = log_weights(model, params, x, noise, given, beta=batch["beta"], path=path)
        return function(weights.log_weights, weights.tap), weights.terms

    def fitted(self, params: chex.ArrayTree) -> Array | None:
        """Returns the likelihood's scalar if it is fitted to the training data under these parameters, else None."""
        if not isinstance(self.model.likelihood, OptimalGaussian):
            return None
        split = as_scored(self.dataset, self.config.binarization, _FIT_IMAGES)["train"]
        task = Task(self.model, params, split, self.levels, self.mesh)
        return self.model.likelihood.fit(mean_squared_error(task, score_keys()[0]))

    def task(self, params: chex.ArrayTree, split: Split, fitted: Array | None) -> Task:
        """Returns the evaluation of these parameters, with the ``fitted`` scalar, on a split as it is scored."""
        return Task(self.model, params, split, self.levels, self.mesh, fitted)


def make_experiment(
    config: TrainConfig, mesh: Mesh | None = None, origin: Origin | None = None, dataset: Dataset | None = None
) -> Experiment:
    """Makes the experiment of a configuration: loads the data, and builds model, loss and optimizer.

    Args:
        config: the configuration; in the experiment, its fields that depend on the data have values.
        mesh: the devices that share each batch; all of them, if not given.
        origin: the origin of the data that a run has stored, so that they are split in the same way.
        dataset: data, such as from ``data.from_arrays``, that replace those that the configuration names.

    Raises:
        ValueError: if data are missing, or if the configuration doesn't fit the data.
    """
    if dataset is None:
        loaded = load_data(config, origin)
    else:
        loaded = dataset if config.validation is None else hold_out(dataset, config.validation)
        config = dataclasses.replace(config, dataset=dataset.name, **dataclasses.asdict(dataset.reading))
    config = resolved(config, loaded, jax.device_count() if mesh is None else mesh.size)
    assert config.batch_size is not None
    contract = contract_of(
        loaded,
        binarization=config.binarization,
        likelihood=config.likelihood,
        conditional=config.conditional,
        features=in_units(config.likelihood, loaded) if in_columns(loaded) else (),
    )
    dataset = binarize(loaded, config.binarization, seed=0)
    scored = as_scored(dataset, config.binarization, 1)
    del scored["train"]
    steps = config.epochs * (len(dataset.train) // config.batch_size)
    require(steps < 2**31, "epochs", config.epochs, f"few enough for fewer than 2³¹ steps, not {steps:,}")
    learning_rate = _learning_rate(config, config.learning_rate, steps)
    experiment = Experiment(
        config,
        data_mesh(config.batch_size) if mesh is None else mesh,
        dataset,
        scored,
        contract,
        model_for(config, contract, mean_image(dataset)),
        _optimizer(config, learning_rate),
        learning_rate,
        beta_schedule(config.beta_schedule, config.beta, steps, config.beta_cycles, config.beta_ramp),
        make_encoder_std(config).multiplied,
        taken=functools.partial(report, loaded),
    )
    _require_room(experiment)
    return experiment


def _require_room(experiment: Experiment) -> None:
    """Raises ValueError if the state, a gradient, a batch's activations and any resident images exceed the memory."""
    config, largest = experiment.config, memory()
    shapes = jax.eval_shape(experiment.begin, 0)
    needed = copies(experiment.mesh) * (_bytes(shapes) + _bytes(shapes.params))
    widths = (*config.hidden, config.latents, *config.upper_latents) if config.architecture == "mlp" else ()
    needed += 4 * config.train_samples * experiment.batch_size * sum(widths)
    if not config.streaming:
        needed += experiment.dataset.train.images.nbytes
    allowed = f"of a model for the {largest / 2**30:,.1f} GiB of memory, and not one of {needed / 2**30:,.1f} GiB"
    require(needed <= largest, "hidden, latents", (config.hidden, config.latents), allowed)


def _bytes(shapes: chex.ArrayTree) -> int:
    """Returns the bytes of arrays of these shapes; a key has 16."""
    return sum(
        x.size * (16 if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x.dtype.itemsize)
        for x in jax.tree.leaves(shapes)
    )


def load_data(config: TrainConfig, origin: Origin | None = None) -> Dataset:
    """Loads the data that a configuration names, split as in ``origin`` if given; it raises the errors of ``load``."""
    if origin is None:
        return load(config.dataset, config.data_dir, config.validation, config.reading)
    return load_again(origin, config.validation, reading=config.reading)


def model_for(config: TrainConfig, contract: DataContract, mean: np.ndarray | None = None) -> LatentModel:
    """Makes the model that a configuration names, for data of this contract.

    Args:
        config: the configuration.
        contract: the contract of the data.
        mean: the mean image of the data, at which the decoder starts.

    Raises:
        ValueError: if the configuration doesn't fit the data.
    """
    encoder_std, scale = make_encoder_std(config), parameterization(config.likelihood_parameterization)
    std = LIKELIHOOD_STD if config.likelihood_std is None else config.likelihood_std
    return make_model(
        contract.image_shape,
        columns_likelihood(config.likelihood, contract.features, scale, std)
        if in_columns(contract)
        else likelihood(config.likelihood, contract.seen_levels, scale, std),
        config.latents,
        encoder_std.parameterization,
        architecture=config.architecture,
        hidden=config.hidden,
        activation=activation_of(config),
        blocks=config.blocks,
        upper_latents=config.upper_latents,
        upper_hidden=config.upper_hidden,
        inference=config.inference,
        flow_steps=config.flow_steps,
        init_std=config.init_std,
        raw_min=encoder_std.raw_min,
        preconditioned=config.precondition == "fisher",
        conditions=_conditions(contract),
        dtype=jnp.dtype(config.dtype),
        mean=mean,
        offset=config.offset or config.likelihood in COMPOSITIONS,
        missing=contract.missing,
    )


def _conditions(contract: DataContract) -> tuple[Condition, ...]:
    """Returns the model's conditions, in the order of ``DataContract.given``."""
    labels = [Condition(contract.classes)] if contract.conditional else []
    return (*labels, *(Condition(len(c.levels), c.loc, c.scale) for c in contract.covariates))


def _learning_rate(config: TrainConfig, peak: float, steps: int) -> optax.Schedule:
    return learning_rate_schedule(
        peak, steps, epochs=config.epochs, warmup_steps=config.warmup_steps, decay=config.learning_rate_decay
    )


def _optimizer(config: TrainConfig, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """Returns the model's optimizer; if a Lagrangian constrains σ, it also increases the multipliers by ascent."""
    descent = make_optimizer(learning_rate, config.clip_norm, optimizer=config.optimizer, adam=config.adam)
    if config.freeze != "none":
        still = optax.masked(optax.set_to_zero(), functools.partial(frozen, config.freeze))
        descent = optax.chain(still, descent, still)  # so that no norm or moment includes them
    if config.constraint != "lagrange":
        return descent
    return optax.partition(
        {"model": descent, _MULTIPLIERS: dual_ascent(config.multiplier_rate)},
        lambda params: {name: name if name == _MULTIPLIERS else "model" for name in params},
    )


def mean_image(dataset: Dataset) -> np.ndarray:
    """Returns the mean image in [0, 1], over the observed entries."""
    images = dataset.train.head(_FIT_IMAGES).images
    if dataset.missing:
        return observed_mean(images)
    return np.asarray(np.mean(images, axis=0, dtype=np.float64)) / ((dataset.levels or 2) - 1)


def as_scored(dataset: Dataset, binarization: str, train: int) -> dict[str, Split]:
    """Returns the splits as they are scored, with only the first training images and one binary draw for all runs."""
    dataset = dataclasses.replace(dataset, train=dataset.train.head(train))
    return (binarize(dataset, "fixed", seed=0) if binarization == "dynamic" else dataset).splits
