"""Pictures: functions from arrays to matplotlib figures.

Figures are plain ``matplotlib.figure.Figure`` objects, drawn without pyplot: they need no display, and no state
is left behind. matplotlib is imported nowhere else. Information is in nats.
"""

from jaxvae import extras

extras.require_train_extra(__name__, "matplotlib")

from jaxvae.plots.findings import diagnosis as diagnosis
from jaxvae.plots.history import curves as curves
from jaxvae.plots.maps import Field as Field
from jaxvae.plots.maps import Skipped as Skipped
from jaxvae.plots.maps import skipped_map as skipped_map
from jaxvae.plots.maps import transform_map as transform_map
from jaxvae.plots.mosaics import image_grid as image_grid
from jaxvae.plots.mosaics import reconstructions as reconstructions
from jaxvae.plots.mosaics import traversals as traversals
from jaxvae.plots.posteriors import latent_map as latent_map
from jaxvae.plots.posteriors import std_histograms as std_histograms
from jaxvae.plots.shapes import explain as explain
from jaxvae.plots.study import Histogram as Histogram
from jaxvae.plots.study import Line as Line
from jaxvae.plots.study import Norms as Norms
from jaxvae.plots.study import elbo_by_step as elbo_by_step
from jaxvae.plots.study import gradient_ranges as gradient_ranges
from jaxvae.plots.study import nll_by_learning_rate as nll_by_learning_rate
from jaxvae.plots.study import std_comparison as std_comparison
from jaxvae.plots.vector import svg as svg
