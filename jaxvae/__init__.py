"""jaxvae: the Gaussian latent variable done right in JAX.

>>> import jax, jax.numpy as jnp
>>> import jaxvae as jv
>>> q = jv.Gaussian(loc=jnp.zeros((128, 20)), raw=jnp.zeros((128, 20)), parameterization=jv.softplus_std)
>>> z = jv.sample(jax.random.key(0), q)
>>> kl = jv.kl_divergence(q).sum(axis=-1)
>>> z.shape, kl.shape
((128, 20), (128,))

Axes, everywhere: K samples, B batch, event axes last. Functions are elementwise and unreduced; the caller sums
over event axes and averages over the batch. Only a Gaussian of correlated elements has one number for each event, its
last axis. Information is in nats.

The workshop, which the training extra installs (``pip install "jaxvae[train]"``), is imported where it is first used:
``jv.training``, ``jv.models``, ``jv.data``, ``jv.likelihoods``, ``jv.objectives``, ``jv.trained``, ``jv.study``,
``jv.plots``; and ``jv.load``, which reads a trained model.
"""

import importlib
from typing import TYPE_CHECKING

from jaxvae._version import __version__ as __version__
from jaxvae.chains import Affine as Affine
from jaxvae.chains import Chain as Chain
from jaxvae.chains import Floor as Floor
from jaxvae.chains import HardClip as HardClip
from jaxvae.chains import SoftClip as SoftClip
from jaxvae.chains import TanhClip as TanhClip
from jaxvae.clipping import log_floor as log_floor
from jaxvae.clipping import soft_clip as soft_clip
from jaxvae.contract import Report as Report
from jaxvae.contract import check_parameterization as check_parameterization
from jaxvae.diagnosis import diagnose as diagnose
from jaxvae.distribution import broadcast_to as broadcast_to
from jaxvae.distribution import concatenate as concatenate
from jaxvae.distribution import stack as stack
from jaxvae.distribution import where as where
from jaxvae.distribution_functions import cdf as cdf
from jaxvae.distribution_functions import log_cdf as log_cdf
from jaxvae.distribution_functions import log_interval_probability as log_interval_probability
from jaxvae.distribution_functions import log_survival as log_survival
from jaxvae.distribution_functions import median as median
from jaxvae.distribution_functions import mode as mode
from jaxvae.distribution_functions import quantile as quantile
from jaxvae.distribution_functions import survival as survival
from jaxvae.gaussian import Fisher as Fisher
from jaxvae.gaussian import Gaussian as Gaussian
from jaxvae.gaussian import convert as convert
from jaxvae.gaussian import cross_entropy as cross_entropy
from jaxvae.gaussian import entropy as entropy
from jaxvae.gaussian import expectation_parameters as expectation_parameters
from jaxvae.gaussian import fisher as fisher
from jaxvae.gaussian import from_natural_parameters as from_natural_parameters
from jaxvae.gaussian import jeffreys as jeffreys
from jaxvae.gaussian import kl_divergence as kl_divergence
from jaxvae.gaussian import log_prob as log_prob
from jaxvae.gaussian import natural_parameters as natural_parameters
from jaxvae.gaussian import product as product
from jaxvae.gaussian import reparameterize as reparameterize
from jaxvae.gaussian import sample as sample
from jaxvae.gaussian import sample_and_log_prob as sample_and_log_prob
from jaxvae.gaussian import wasserstein2 as wasserstein2
from jaxvae.interop import convert_head as convert_head
from jaxvae.interop import convert_head_params as convert_head_params
from jaxvae.interop import from_bijector as from_bijector
from jaxvae.interop import from_distrax as from_distrax
from jaxvae.interop import from_moments as from_moments
from jaxvae.interop import from_numpyro as from_numpyro
from jaxvae.interop import from_tfp as from_tfp
from jaxvae.interop import load_safetensors as load_safetensors
from jaxvae.interop import save_safetensors as save_safetensors
from jaxvae.interop import to_distrax as to_distrax
from jaxvae.interop import to_numpyro as to_numpyro
from jaxvae.interop import to_tfp as to_tfp
from jaxvae.multivariate import CholeskyGaussian as CholeskyGaussian
from jaxvae.multivariate import LowRankGaussian as LowRankGaussian
from jaxvae.natural import natural_gradient as natural_gradient
from jaxvae.natural import precondition as precondition
from jaxvae.parameterizations import PARAMETERIZATIONS as PARAMETERIZATIONS
from jaxvae.parameterizations import NaturalParameterization as NaturalParameterization
from jaxvae.parameterizations import Parameterization as Parameterization
from jaxvae.parameterizations import abs_std as abs_std
from jaxvae.parameterizations import dehaene_exp_linear as dehaene_exp_linear
from jaxvae.parameterizations import dehaene_up_bounded as dehaene_up_bounded
from jaxvae.parameterizations import diffusers_log_variance as diffusers_log_variance
from jaxvae.parameterizations import direct_std as direct_std
from jaxvae.parameterizations import direct_variance as direct_variance
from jaxvae.parameterizations import dreamer_std as dreamer_std
from jaxvae.parameterizations import dreamer_v2_std as dreamer_v2_std
from jaxvae.parameterizations import efficient_vdvae_log_std as efficient_vdvae_log_std
from jaxvae.parameterizations import efficient_vdvae_std as efficient_vdvae_std
from jaxvae.parameterizations import exp_linear_std as exp_linear_std
from jaxvae.parameterizations import log_precision as log_precision
from jaxvae.parameterizations import log_std as log_std
from jaxvae.parameterizations import log_variance as log_variance
from jaxvae.parameterizations import natural_exp as natural_exp
from jaxvae.parameterizations import natural_softplus as natural_softplus
from jaxvae.parameterizations import nvae_log_std as nvae_log_std
from jaxvae.parameterizations import parameterization as parameterization
from jaxvae.parameterizations import pets_log_variance as pets_log_variance
from jaxvae.parameterizations import projected_std as projected_std
from jaxvae.parameterizations import sac_log_std as sac_log_std
from jaxvae.parameterizations import scvi_variance as scvi_variance
from jaxvae.parameterizations import sigma_vae_log_std as sigma_vae_log_std
from jaxvae.parameterizations import sigmoid_std as sigmoid_std
from jaxvae.parameterizations import sigmoid_variance as sigmoid_variance
from jaxvae.parameterizations import softplus_precision as softplus_precision
from jaxvae.parameterizations import softplus_std as softplus_std
from jaxvae.parameterizations import softplus_variance as softplus_variance
from jaxvae.parameterizations import square_std as square_std
from jaxvae.parameterizations import squareplus_std as squareplus_std
from jaxvae.parameterizations import squareplus_variance as squareplus_variance
from jaxvae.squashed import TanhGaussian as TanhGaussian
from jaxvae.transforms import Abs as Abs
from jaxvae.transforms import Exp as Exp
from jaxvae.transforms import ExpLinear as ExpLinear
from jaxvae.transforms import HalfBounded as HalfBounded
from jaxvae.transforms import Identity as Identity
from jaxvae.transforms import Interval as Interval
from jaxvae.transforms import Sigmoid as Sigmoid
from jaxvae.transforms import Softplus as Softplus
from jaxvae.transforms import Square as Square
from jaxvae.transforms import Squareplus as Squareplus
from jaxvae.transforms import Transform as Transform

_WORKSHOP = ("data", "likelihoods", "models", "objectives", "plots", "study", "trained", "training")

if TYPE_CHECKING:
    from jaxvae import data as data
    from jaxvae import likelihoods as likelihoods
    from jaxvae import models as models
    from jaxvae import objectives as objectives
    from jaxvae import plots as plots
    from jaxvae import study as study
    from jaxvae import trained as trained
    from jaxvae import training as training

    load = trained.load_model
else:

    def __getattr__(name: str) -> object:
        if name in _WORKSHOP:
            return importlib.import_module(f"{__name__}.{name}")
        if name == "load":
            return importlib.import_module(f"{__name__}.trained").load_model
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WORKSHOP, "load"})
