"""p(x | z): what a decoder's outputs say about an image.

>>> import jax, jax.numpy as jnp
>>> pixels = likelihood("discretized_logistic", levels=256)
>>> outputs = jnp.zeros((8, 28, 28, pixels.output_channels(1)))
>>> jax.jit(pixels.log_prob)(outputs, jnp.zeros((8, 28, 28, 1))).shape
(8, 28, 28, 1)
"""

from jaxvae.likelihoods.bernoulli import Bernoulli as Bernoulli
from jaxvae.likelihoods.bernoulli import ContinuousBernoulli as ContinuousBernoulli
from jaxvae.likelihoods.categorical import Categorical as Categorical
from jaxvae.likelihoods.discretized import DiscretizedGaussian as DiscretizedGaussian
from jaxvae.likelihoods.family import Likelihood as Likelihood
from jaxvae.likelihoods.kinds import LIKELIHOODS as LIKELIHOODS
from jaxvae.likelihoods.kinds import likelihood as likelihood
from jaxvae.likelihoods.logistic import DiscretizedLogistic as DiscretizedLogistic
from jaxvae.likelihoods.logistic import DiscretizedLogisticMixture as DiscretizedLogisticMixture
from jaxvae.likelihoods.normal import FixedGaussian as FixedGaussian
from jaxvae.likelihoods.normal import LearnedGaussian as LearnedGaussian
from jaxvae.likelihoods.normal import OptimalGaussian as OptimalGaussian
from jaxvae.likelihoods.normal import PixelGaussian as PixelGaussian
