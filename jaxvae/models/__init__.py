"""Flax Linen modules: heads, networks, and models with latents."""

from jaxvae import extras

extras.require_train_extra(__name__, "flax")

from jaxvae.models.build import ARCHITECTURES as ARCHITECTURES
from jaxvae.models.build import INFERENCES as INFERENCES
from jaxvae.models.build import make_model as make_model
from jaxvae.models.conditions import Condition as Condition
from jaxvae.models.flows import CouplingFlow as CouplingFlow
from jaxvae.models.heads import GaussianHead as GaussianHead
from jaxvae.models.hierarchical import BottomUpVAE as BottomUpVAE
from jaxvae.models.hierarchical import TopDownVAE as TopDownVAE
from jaxvae.models.latent import Draws as Draws
from jaxvae.models.latent import LatentModel as LatentModel
from jaxvae.models.latent import Terms as Terms
from jaxvae.models.latent import log_prob_of_observed as log_prob_of_observed
from jaxvae.models.latent import log_total as log_total
from jaxvae.models.networks import ACTIVATIONS as ACTIVATIONS
from jaxvae.models.vae import VAE as VAE
