"""How near a run came to what can't be beaten: for data whose best fit is known in closed form."""

from typing import NamedTuple

import jax
import numpy as np

from jaxvae.data import synthetic
from jaxvae.training.run import Run
from jaxvae.training.scoring import log_evidence, score_keys

_SAMPLES = 32


class Gap(NamedTuple):
    """Mean log p(x) of the training images in nats: the maximum in closed form, and the ELBO that a run reached.

    The error is the standard error of the ELBO's sampling.
    """

    maximum: float
    reached: float
    error: float


def gap(run: Run) -> Gap | None:
    """That of a run on ``linear-gaussian``; None for other data.

    The maximum is that of probabilistic PCA with as many latents (Tipping & Bishop 1999), which a linear VAE with one
    σ can reach and not exceed (Lucas et al. 2019, arXiv:1911.02469); a nonlinear one may. The ELBO is the mean
    log-weight of some samples per image, which at the optimum has no noise.
    """
    experiment = run.experiment
    if experiment.dataset.name != synthetic.NAME:
        return None
    x = experiment.dataset.train.images.reshape(len(experiment.dataset.train), -1)
    best = synthetic.probabilistic_pca(x, experiment.model.latents)
    fit_key, key, _ = score_keys()
    task = experiment.task(run.params, experiment.dataset.train, fit_key)
    keys = jax.random.split(key, _SAMPLES)
    reached = [np.mean(log_evidence(task, key, samples=1).value, dtype=np.float64) for key in keys]
    error = np.std(reached, ddof=1) / np.sqrt(_SAMPLES)
    return Gap(float(np.mean(best.log_likelihood(x))), float(np.mean(reached)), float(error))
