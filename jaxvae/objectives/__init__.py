"""From log-likelihoods and KL terms to objectives, per example, in nats."""

from jaxvae.objectives.constrained import GecoState as GecoState
from jaxvae.objectives.constrained import dual_ascent as dual_ascent
from jaxvae.objectives.constrained import geco as geco
from jaxvae.objectives.constrained import lagrangian as lagrangian
from jaxvae.objectives.constrained import lower_bound_violation as lower_bound_violation
from jaxvae.objectives.constrained import reconstruction_constraint as reconstruction_constraint
from jaxvae.objectives.elbo import elbo as elbo
from jaxvae.objectives.elbo import free_bits as free_bits
from jaxvae.objectives.schedules import SCHEDULES as SCHEDULES
from jaxvae.objectives.schedules import beta_schedule as beta_schedule
