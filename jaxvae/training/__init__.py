"""Training: state, step, loop, checkpoints, evaluation. Only here does a model meet an objective."""

from jaxvae import extras

extras.require_train_extra(__name__, "chex", "flax", "optax", "orbax", "rich")

from jaxvae.training.config import TrainConfig as TrainConfig
from jaxvae.training.config import config_from_mapping as config_from_mapping
from jaxvae.training.config import read_config as read_config
from jaxvae.training.directory import CONFIG as CONFIG
from jaxvae.training.directory import METRICS as METRICS
from jaxvae.training.directory import read_metrics as read_metrics
from jaxvae.training.experiment import Experiment as Experiment
from jaxvae.training.experiment import make_experiment as make_experiment
from jaxvae.training.fitting import fit as fit
from jaxvae.training.optimizers import learning_rate_schedule as learning_rate_schedule
from jaxvae.training.optimizers import make_optimizer as make_optimizer
from jaxvae.training.optimizers import scale_by_fisher as scale_by_fisher
from jaxvae.training.run import NonFiniteError as NonFiniteError
from jaxvae.training.run import load_state as load_state
from jaxvae.training.run import train as train
from jaxvae.training.scoring import Posterior as Posterior
from jaxvae.training.scoring import log_evidence as log_evidence
from jaxvae.training.scoring import posterior as posterior
from jaxvae.training.step import TrainState as TrainState
from jaxvae.training.step import init_state as init_state
from jaxvae.training.step import make_train_loop as make_train_loop
from jaxvae.training.step import make_train_step as make_train_step
from jaxvae.training.step import train_step as train_step
