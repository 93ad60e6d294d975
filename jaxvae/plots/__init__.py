"""Pictures: arrays in, matplotlib figures out.

Figures are plain ``matplotlib.figure.Figure`` objects, drawn without pyplot: they need no display, and no state
is left behind. matplotlib is imported nowhere else. Information is in nats.
"""

from jaxvae.plots.explain import explain as explain
from jaxvae.plots.history import curves as curves
from jaxvae.plots.mosaics import image_grid as image_grid
from jaxvae.plots.mosaics import reconstructions as reconstructions
from jaxvae.plots.mosaics import traversals as traversals
from jaxvae.plots.posteriors import latent_map as latent_map
from jaxvae.plots.posteriors import std_histograms as std_histograms
