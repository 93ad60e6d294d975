"""Objectives per example, in nats, from log-likelihoods, KL terms and log-weights."""

from jaxvae import extras

extras.require_train_extra(__name__, "optax")

from jaxvae.objectives.balancing import balance as balance
from jaxvae.objectives.closed_form import elbo as elbo
from jaxvae.objectives.closed_form import free_bits as free_bits
from jaxvae.objectives.constrained import GecoState as GecoState
from jaxvae.objectives.constrained import dual_ascent as dual_ascent
from jaxvae.objectives.constrained import geco as geco
from jaxvae.objectives.constrained import lagrangian as lagrangian
from jaxvae.objectives.constrained import lower_bound_violation as lower_bound_violation
from jaxvae.objectives.constrained import reconstruction_constraint as reconstruction_constraint
from jaxvae.objectives.discrepancy import gaussian_kernel as gaussian_kernel
from jaxvae.objectives.discrepancy import info_vae as info_vae
from jaxvae.objectives.discrepancy import inverse_multiquadratic as inverse_multiquadratic
from jaxvae.objectives.discrepancy import mmd as mmd
from jaxvae.objectives.disentangled import Decomposition as Decomposition
from jaxvae.objectives.disentangled import beta_tc as beta_tc
from jaxvae.objectives.disentangled import capacity as capacity
from jaxvae.objectives.disentangled import decompose as decompose
from jaxvae.objectives.estimators import dreg as dreg
from jaxvae.objectives.estimators import path_log_weights as path_log_weights
from jaxvae.objectives.estimators import sampled_kl as sampled_kl
from jaxvae.objectives.estimators import stl as stl
from jaxvae.objectives.estimators import stop_parameters as stop_parameters
from jaxvae.objectives.estimators import tapped as tapped
from jaxvae.objectives.heteroscedastic import beta_nll as beta_nll
from jaxvae.objectives.heteroscedastic import faithful as faithful
from jaxvae.objectives.importance import PartialBounds as PartialBounds
from jaxvae.objectives.importance import ciwae as ciwae
from jaxvae.objectives.importance import iwae as iwae
from jaxvae.objectives.importance import jackknife as jackknife
from jaxvae.objectives.importance import miwae as miwae
from jaxvae.objectives.importance import piwae as piwae
from jaxvae.objectives.importance import renyi as renyi
from jaxvae.objectives.importance import sampled_elbo as sampled_elbo
from jaxvae.objectives.schedules import SCHEDULES as SCHEDULES
from jaxvae.objectives.schedules import beta_schedule as beta_schedule
