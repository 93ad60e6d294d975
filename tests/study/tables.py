"""Tables with just what the statistics read, and numbers chosen by hand."""

import math

from jaxvae.study import statistics as st

RATES = (1e-3, 1e-2, 1e-1)


T_2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # t of 2 degrees of freedom at p: (2p - 1) / √(2p(1 - p)), here at 0.975


def record(
    name="log_variance", rate=1e-2, seed=0, nll=24.0, *, skipped=0.0, cause=None, curve=None, chosen_by=(), **config
):
    """``chosen_by`` is the validation images' NLL, where there is one."""
    return {
        **({} if chosen_by == () else {"validation_nll": chosen_by}),
        "config": {"parameterization": name, "constraint": "none", "learning_rate": rate, "seed": seed, **config},
        "nll": nll,
        "elbo": None if nll is None else -nll - 1,
        "skipped": skipped,
        "cause": cause,
        "curve": curve,
    }


def runs(name, nll, rate=1e-2, **rest):
    """One run per seed from 0."""
    return [record(name, rate, seed, x, **rest) for seed, x in enumerate(nll)]


def point(*nll, rate=1e-2):
    return st.points(runs("log_variance", nll, rate))[0]


def spaced(mean, step):
    """Three seeds with this mean and this standard deviation."""
    return (mean - step, mean, mean + step)


BASE = runs("log_variance", (20.0, 20.0, 20.0))


def sides(**rest):
    """Two one-to-one variants 3 ± 0.1 nats apart when plain, 1 with Fisher; and others that must not count."""
    return [
        *runs("log_variance", (20.0, 21.0, 22.0), precondition="none", **rest),
        *runs("softplus_std", (23.1, 24.0, 24.9), precondition="none", **rest),
        *runs("natural_exp", (None, 24.0, 24.9), precondition="none", **rest),
        *runs("log_variance", (20.0, 21.0, 22.0), precondition="fisher", **rest),
        *runs("softplus_std", (19.0, 20.0, 21.0), precondition="fisher", **rest),
        *runs("natural_exp", (90.0, 90.0, 90.0), precondition="fisher", **rest),
        *(r for side in ("none", "fisher") for r in runs("sigmoid_std", (90.0,) * 3, precondition=side, **rest)),
        *(r for side in ("none", "fisher") for r in runs("abs_std", (90.0,) * 3, precondition=side, **rest)),
        *(r for side in ("none", "fisher") for r in runs("direct_std", (90.0,) * 3, precondition=side, **rest)),
    ]
