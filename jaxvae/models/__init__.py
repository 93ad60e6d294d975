"""Flax Linen modules: heads, networks, the VAE."""

from jaxvae.models.heads import GaussianHead as GaussianHead
from jaxvae.models.networks import ACTIVATIONS as ACTIVATIONS
from jaxvae.models.vae import ARCHITECTURES as ARCHITECTURES
from jaxvae.models.vae import VAE as VAE
from jaxvae.models.vae import Terms as Terms
from jaxvae.models.vae import make_vae as make_vae
