"""Trained models: loaded from a run's directory, called, scored and inspected."""

from jaxvae import extras

extras.require_train_extra(__name__, "chex", "flax", "optax", "orbax", "rich")

from jaxvae.trained.exports import Exported as Exported
from jaxvae.trained.exports import export_run as export_run
from jaxvae.trained.model import Decoded as Decoded
from jaxvae.trained.model import ImageScores as ImageScores
from jaxvae.trained.model import TrainedModel as TrainedModel
from jaxvae.trained.opening import load_model as load_model
from jaxvae.trained.opening import open_model as open_model
from jaxvae.trained.programs import export_programs as export_programs
from jaxvae.trained.runs import Run as Run
from jaxvae.trained.runs import evaluate as evaluate
