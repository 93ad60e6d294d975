"""Whether a VAE under every parameterization reaches the likelihood that probabilistic PCA has in closed form.

    python -m benchmarks.linear_gaussian [--quick] [--out FILE]

The training of ``jaxvae train --dataset linear-gaussian --parameterization NAME`` for every name, all steps in one
program; with ``--constraint projection`` where the name by itself allows a σ of 0 or less.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import numpy as np

from benchmarks import harness
from jaxvae import PARAMETERIZATIONS
from jaxvae.data import synthetic
from jaxvae.training import Experiment, TrainState, config_from_mapping, make_experiment, train_step
from jaxvae.training.batches import resident_batch, shuffle
from jaxvae.training.config import UNCONSTRAINED
from jaxvae.training.devices import one_device
from jaxvae.training.scoring import log_evidence, score_keys

BAR = 1e-3
"""Nats."""

_SAMPLES = 32


class Gap(NamedTuple):
    """Mean log p(x) of the training images in nats: the maximum in closed form, and the ELBO that a run reached.

    The error is the standard error of the ELBO's sampling.
    """

    maximum: float
    reached: float
    error: float


def gap(experiment: Experiment, params: chex.ArrayTree) -> Gap:
    """How near parameters trained on ``linear-gaussian`` came to the maximum likelihood, which is known in closed form.

    The maximum is that of probabilistic PCA with as many latents (Tipping & Bishop 1999), which a linear VAE with one
    σ can reach and not exceed (Lucas et al. 2019, arXiv:1911.02469); a nonlinear one may. The ELBO is the mean
    log-weight of some samples per image, which at the optimum has no noise.
    """
    x = experiment.dataset.train.images.reshape(len(experiment.dataset.train), -1)
    best = synthetic.probabilistic_pca(x, experiment.model.latents)
    key = score_keys()[1]
    task = experiment.task(params, experiment.dataset.train, experiment.fitted(params))
    keys = jax.random.split(key, _SAMPLES)
    reached = [np.mean(log_evidence(task, key, samples=1).value, dtype=np.float64) for key in keys]
    error = np.std(reached, ddof=1) / np.sqrt(_SAMPLES)
    return Gap(float(np.mean(best.log_likelihood(x))), float(np.mean(reached)), float(error))


def trained(experiment: Experiment) -> TrainState:
    """After all epochs."""
    step = train_step(experiment.loss, experiment.tx)
    images, seed = experiment.dataset.train.images, experiment.config.seed

    def epoch(state: TrainState, number: jax.Array) -> tuple[TrainState, None]:
        data = {"image": jax.numpy.asarray(images), "order": shuffle(seed, number, len(images))}

        def one(state: TrainState, _: None) -> tuple[TrainState, None]:
            return step(state, resident_batch(experiment, None, data, state.step))[0], None

        return jax.lax.scan(one, state, None, experiment.steps_per_epoch)

    run = jax.jit(lambda: jax.lax.scan(epoch, experiment.begin(seed), jax.numpy.arange(experiment.config.epochs))[0])
    return run()


def measured(name: str) -> harness.Report:
    """The row of a parameterization."""
    constraint = "projection" if name in UNCONSTRAINED else "none"
    chosen = {"dataset": synthetic.NAME, "parameterization": name, "constraint": constraint}
    experiment = make_experiment(config_from_mapping({**synthetic.SUGGESTED, **chosen}), one_device())
    began = time.perf_counter()
    state = trained(experiment)
    found = gap(experiment, state.evaluated)
    seconds = round(time.perf_counter() - began, 1)
    return {"name": name, **found._asdict(), "gap": found.maximum - found.reached, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the report; exits with 1 where a gap is above the bar."""
    args = harness.parser("linear_gaussian", __doc__, "two parameterizations").parse_args(argv)
    names = list(PARAMETERIZATIONS)[:2] if args.quick else list(PARAMETERIZATIONS)
    rows = []
    for name in names:
        rows.append(measured(name))
        print("{name:24} gap {gap:.1e} ± {error:.1e} nats, {seconds:.0f} s".format(**rows[-1]), flush=True)
    report = {**harness.facts("linear_gaussian"), "rows": rows}
    out = args.out or harness.RESULTS / "linear_gaussian.json"
    out.write_text(harness.as_json(report))
    if not max(row["gap"] for row in rows) < BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
