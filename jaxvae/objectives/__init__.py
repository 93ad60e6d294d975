"""From log-likelihoods and KL terms to objectives, per example, in nats."""

from jaxvae.objectives.elbo import elbo as elbo
from jaxvae.objectives.elbo import free_bits as free_bits
from jaxvae.objectives.schedules import SCHEDULES as SCHEDULES
from jaxvae.objectives.schedules import beta_schedule as beta_schedule
