"""The configuration of a run: the choices that determine its result, as plain values."""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxvae import data
from jaxvae.arguments import require
from jaxvae.data.tables import kinds_text
from jaxvae.files import read_file
from jaxvae.likelihoods import COMPOSITIONS, COUNTS, LIKELIHOODS, OF_COLUMNS
from jaxvae.models import ACTIVATIONS, ARCHITECTURES, INFERENCES
from jaxvae.objectives import SCHEDULES, beta_schedule
from jaxvae.parameterizations import parameterization
from jaxvae.texts import nearest
from jaxvae.training.bounds import BOUNDS
from jaxvae.training.modelling import COLUMNS
from jaxvae.training.optimizers import DECAYS, OPTIMIZERS, Adam, make_optimizer, stage_ends

DTYPES = ("float32", "bfloat16", "float16")
MATCHES = ("init", "gain")
CONSTRAINTS = ("none", "projection", "lagrange")
PRECONDITIONERS = ("none", "fisher")
OBJECTIVES = ("elbo", *BOUNDS)
FROZEN = ("none", "encoder", "decoder")

AUTO = "auto"
"""The value of a field whose choice is left to the data."""

CHANGEABLE = (
    "epochs",
    "learning_rate",
    "learning_rate_decay",
    "warmup_steps",
    "beta",
    "beta_schedule",
    "beta_cycles",
    "beta_ramp",
    "free_bits",
    "max_skipped",
    "evaluate_every",
    "samples",
)
"""The fields that may change when a run is resumed: they affect later steps, but not the data or the model."""

UNCONSTRAINED = ("direct_std", "direct_variance")
"""The parameterizations for which a constraint can be chosen."""


_MOST = 2**31 - 1  # the largest int32, as JAX counts in int32
_LEAST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_COUNTS = {
    **dict.fromkeys(("validation", "warmup_steps"), (0, _MOST)),
    **dict.fromkeys(("blocks", "flow_steps"), (0, 1000)),
    **dict.fromkeys(("latents", "upper_latents", "hidden", "upper_hidden", "epochs", "batch_size"), (1, _MOST)),
    **dict.fromkeys(("max_skipped", "samples", "train_samples", "beta_cycles", "evaluate_every"), (1, _MOST)),
}
"""The least and the most that a field may be."""


def _option(default: Any, text: str, *choices: str) -> Any:
    """Makes a field with its help text and the names that are allowed."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run: data, model, objective and optimizer.

    Raises:
        ValueError: for a value that isn't allowed; it names the field, the value and what is allowed.
    """

    dataset: str = _option(
        "digits", "a name from `jaxvae data list`, a .npy or .npz file, a table, or a folder of images"
    )
    data_dir: str | None = _option(None, "where tensorflow-datasets keeps its data (default: its own place)")
    validation: int | None = _option(
        None, "hold out the last N training images for validation (default: the dataset's own split, or none)"
    )
    layout: str = _option("auto", "the order of an array's axes, where its shape is ambiguous", *data.LAYOUTS)
    levels: int | None = _option(None, "the number of grey levels of integers (default: from the data)")
    value_range: tuple[float, ...] = _option((), "the numbers of black and white, such as -1 1 (default: none)")
    counts: bool = _option(False, "read whole numbers as counts (implied by a likelihood of counts)")
    label: str | None = _option(None, "the column of a table that has the classes")
    split: str | None = _option(None, "the column that says which rows are train, validation or test")
    group: str | None = _option(None, "the column of groups, such as patients, whose rows are to be in one split")
    stratified: bool = _option(False, "give each split the same share of each class")
    kinds: str | None = _option(
        None, "a .toml or .json file, or JSON, with the kinds of columns that `jaxvae data inspect` shows wrongly"
    )
    names: str | None = _option(None, "the column that names the rows")
    array: str | None = _option(None, "the array to read from a file with several; for a .h5ad file, a layer or raw")
    covariates: tuple[str, ...] = _option(
        (), "columns of a table, such as batch and age, that are given to encoder and decoder and not modelled"
    )
    missing: tuple[str, ...] = _option((), "texts that stand for missing entries, besides empty ones, NA and NaN")
    delimiter: str | None = _option(None, "what separates a line's entries (default: a comma, or a tab in a .tsv file)")
    decimal: str = _option(".", "what separates decimals: . or ,")
    thousands: str | None = _option(None, "what separates thousands (default: nothing)")
    header: bool | None = _option(None, "whether a table's first line has names (default: as it looks)")
    size: tuple[int, ...] = _option((), "height and width to resize and crop images to (default: as they are)")
    grey: bool = _option(False, "convert colour images to grey")
    background: str = _option("white", "the colour behind transparent pixels")
    frames: bool = _option(False, "read each frame of an animation as an image")
    skip_bad: bool = _option(False, "skip files that can't be read")
    binarization: str = _option(
        AUTO, "how pixels become 0 or 1 (auto: dynamic for grey levels under bernoulli, else none)", AUTO, *data.METHODS
    )
    conditional: bool = _option(False, "condition encoder and decoder on the labels")

    parameterization: str = _option(
        "log_variance", "the parameterization of the encoder's σ: a name from `jaxvae list`"
    )
    latents: int = _option(16, "the number of latents; in a hierarchy, that of its lowest layer")
    upper_latents: tuple[int, ...] = _option(
        (), "numbers of latents of a hierarchy's upper layers, lowest first (default: none)"
    )
    upper_hidden: tuple[int, ...] = _option((100, 100), "widths of networks between a hierarchy's layers, or in a flow")
    inference: str = _option("top_down", "how a hierarchy's layers are inferred", *INFERENCES)
    flow_steps: int = _option(0, "coupling layers between the encoder's Gaussian and q(z|x)")
    init_std: float = _option(1.0, "σ of q(z|x) at the start, the same for every parameterization")
    match: str = _option("init", "what all parameterizations share at the start: σ, or σ and d log σ / d raw", *MATCHES)
    constraint: str = _option("none", "how σ ≥ 0.0001 is enforced under direct_std and direct_variance", *CONSTRAINTS)
    multiplier_rate: float = _option(1.0, "step size of the multipliers of a lagrange constraint")
    precondition: str = _option(
        "none", "the metric that gradients at the encoder's head are divided by", *PRECONDITIONERS
    )
    likelihood: str = _option(
        AUTO,
        "p(x|z) (auto: bernoulli for grey or binary images, what suits its columns for a table, else gaussian_learned)",
        *dict.fromkeys((AUTO, COLUMNS, *LIKELIHOODS, *OF_COLUMNS)),
    )
    offset: bool = _option(False, "scale the mean of counts by their total, which is then given (library size)")
    likelihood_parameterization: str = _option(
        "log_variance", "the parameterization of the likelihood's σ, where it has one"
    )
    likelihood_std: float | None = _option(
        None,
        "the likelihood's σ, or the initial one where it is learned (default: the data's for reals, else 0.1; of "
        "a table's columns 1, in units of their standard deviations)",
    )
    architecture: str = _option("mlp", "the architecture of encoder and decoder", *ARCHITECTURES)
    hidden: tuple[int, ...] = _option(
        (200, 200), "widths (mlp; none for a linear model) or channels (conv), from the image inwards"
    )
    blocks: int = _option(1, "residual blocks in a stage (conv)")
    activation: str = _option(AUTO, "the nonlinearity (auto: tanh for mlp, silu for conv)", AUTO, *ACTIVATIONS)
    dtype: str = _option("float32", "the dtype of encoder and decoder; head, KL and loss are float32", *DTYPES)

    objective: str = _option(
        "elbo", "the lower bound of log p(x) to maximize; all except elbo use log-weights", *OBJECTIVES
    )
    train_samples: int = _option(1, "samples of q(z|x) per image in a step")
    beta: float = _option(1.0, "weight of the KL")
    beta_schedule: str = _option("constant", "the schedule of β", *SCHEDULES)
    beta_cycles: int = _option(4, "the number of cycles of a cyclical β")
    beta_ramp: float = _option(0.5, "the share of a cycle in which β rises")
    free_bits: float = _option(0.0, "nats per latent below which the KL is a constant cost")

    epochs: int = _option(200, "passes over the training images")
    batch_size: int | None = _option(None, "images in a step, over all devices (default: 100, or all there are)")
    optimizer: str = _option("adam", "the optimizer", *OPTIMIZERS)
    adam_b1: float = _option(0.9, "decay of Adam's first moment")
    adam_eps: float = _option(1e-8, "Adam's ε, which is added to the root of its second moment")
    adam_second_moment: float = _option(0.0, "the initial value of Adam's second moment")
    weight_decay: float = _option(0.0, "Adam's decoupled decay of the weights, in units of the learning rate (AdamW)")
    learning_rate: float = _option(3e-3, "the highest learning rate")
    learning_rate_decay: str = _option("cosine", "the decay of the learning rate after the warm-up", *DECAYS)
    warmup_steps: int = _option(0, "steps over which the learning rate rises from 0")
    clip_norm: float | None = _option(None, "clip the gradient to this norm (default: no clipping)")
    ema_decay: float | None = _option(None, "evaluate an average of the parameters with this decay (default: none)")
    freeze: str = _option("none", "the half of the model that keeps its initial weights", *FROZEN)
    max_skipped: int = _option(20, "stop after this many non-finite updates in a row")

    seed: int = _option(0, "the seed of initial weights, data order and noise")
    evaluate_every: int | None = _option(
        None, "epochs between checkpoints and validations (default: a twentieth of the epochs)"
    )
    samples: int = _option(100, "importance samples per test image in the final evaluation")
    streaming: bool | None = _option(
        None, "read batches from disk with grain (default: if the images exceed half of the device's memory)"
    )

    def __post_init__(self) -> None:
        for name, hint in _hints().items():
            object.__setattr__(self, name, _of_type(hint, name, getattr(self, name)))
        if self.kinds is not None:
            object.__setattr__(self, "kinds", kinds_text(self.kinds))
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if choices:
                require(value in choices, field.name, value, "one of " + ", ".join(choices))
        parameterization(self.parameterization)
        parameterization(self.likelihood_parameterization)
        require(
            self.constraint == "none" or self.parameterization in UNCONSTRAINED,
            "constraint",
            self.constraint,
            f"none for {self.parameterization}, or with " + " or ".join(UNCONSTRAINED),
        )
        require(0 < self.multiplier_rate < math.inf, "multiplier_rate", self.multiplier_rate, "above 0")
        require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0")
        for name, (least, most) in _COUNTS.items():
            value = getattr(self, name)
            for count in value if isinstance(value, tuple) else (value,):
                require(count is None or count >= least, name, value, f"at least {least}")
                require(count is None or count <= most, name, value, f"at most {most:,}")
        require(0 < self.init_std < math.inf, "init_std", self.init_std, "above 0")
        require(0 <= self.free_bits < math.inf, "free_bits", self.free_bits, "a number of at least 0")
        require(self.free_bits == 0 or self.objective == "elbo", "free_bits", self.free_bits, "0 but for elbo")
        std = self.likelihood_std
        require(std is None or 0 < std < math.inf, "likelihood_std", std, "above 0")
        require(
            self.ema_decay is None or 0 <= float(np.float32(self.ema_decay)) < 1,
            "ema_decay",
            self.ema_decay,
            "at least 0 and below 1, in float32, too",
        )
        require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2³² - 1")
        # Each of these calls raises ValueError for values that it doesn't allow.
        assert self.reading
        beta_schedule(self.beta_schedule, self.beta, 0, self.beta_cycles, self.beta_ramp)
        make_optimizer(self.learning_rate, self.clip_norm, optimizer=self.optimizer, adam=self.adam)

    @property
    def reading(self) -> data.Reading:
        """How files and arrays become images; under a likelihood for counts, numbers are read as counts."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(data.Reading)}
        return data.Reading(**{**given, "counts": self.counts or self.likelihood in (*COUNTS, *COMPOSITIONS)})

    @property
    def adam(self) -> Adam:
        """The settings of Adam."""
        return Adam(self.adam_b1, self.adam_eps, self.adam_second_moment, self.weight_decay)

    @property
    def epochs_between_evaluations(self) -> int:
        """``evaluate_every``, or its default."""
        return self.evaluate_every or max(1, self.epochs // 20)

    def evaluated_after(self, epoch: int) -> bool:
        """Whether a checkpoint and a validation follow this epoch; both also follow the end of each stage."""
        ends = stage_ends(self.epochs) if self.learning_rate_decay == "stages" else []
        return epoch % self.epochs_between_evaluations == 0 or epoch in (*ends, self.epochs)

    def to_json(self) -> str:
        """Returns the configuration as JSON, with one field per line."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def config_from_mapping(values: Mapping[str, Any]) -> TrainConfig:
    """Makes a configuration from plain values, such as those of a JSON file; missing fields get their defaults.

    Raises:
        ValueError: for a name that isn't a field, or for a value of a wrong type or out of range.
    """
    require(isinstance(values, Mapping), "config", values, "an object of TrainConfig's fields")
    for name in values:
        if not isinstance(name, str) or name not in _hints():
            near = nearest(name, _hints())
            require(False, "config", name, f"a field of TrainConfig{'; nearest: ' * bool(near)}{', '.join(near)}")
    return TrainConfig(**values)


@functools.cache
def _hints() -> Mapping[str, Any]:
    return MappingProxyType(typing.get_type_hints(TrainConfig))


def read_config(path: Path) -> TrainConfig:
    """Reads the configuration in a JSON file, such as a run's ``config.json``.

    Raises:
        ValueError: for a file that can't be read, isn't a JSON object, or has fields or values that aren't allowed.
    """
    try:
        values = json.loads(read_file(path).decode("utf-8-sig"), object_pairs_hook=_once_each)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"config must be a readable JSON file, got {str(path)!r} ({error})") from error
    require(isinstance(values, dict), "config", str(path), "a JSON object of TrainConfig's fields")
    try:
        return config_from_mapping(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses several values for one name, of which JSON's parser would keep the last."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, "config", twice, "without a name twice")
    return dict(pairs)


def _of_type(hint: Any, name: str, value: Any) -> Any:
    """Returns the value in its field's type; only integers become floats, and only lists become tuples."""
    if isinstance(hint, types.UnionType):
        return None if value is None else _of_type(typing.get_args(hint)[0], name, value)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        noun = {int: "integers", str: "texts"}.get(item, "numbers")
        require(isinstance(value, list | tuple), name, value, f"a list of {noun}")
        return tuple(_of_type(item, name, part) for part in value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        size = abs(value)
        fits = value == 0 or _LEAST <= size <= _LARGEST
        require(
            fits, name, value, f"a finite number, 0 or of {_LEAST:.3g} to {_LARGEST:.3g} in size, as float32 has them"
        )
        return float(value)
    require(type(value) is hint, name, value, f"of type {hint.__name__}")
    return value
