"""The thresholds from which a latent, or a run, counts as ill; ``states`` says them in words.

Information is in nats.
"""

IDLE = 0.01
"""Nats, and variance of the posterior mean over the data, below which a latent does nothing (Burda et al. 2016)."""

COSTLY = 0.1
"""The KL from which a latent that tells less than ``IDLE`` is worth a word."""

DEAF = 0.01
"""The |d log σ / d raw| below which σ is saturated. A step of Adam moves raw by about the learning rate (Kingma & Ba
2015, section 2.1): at 1e-3, to change σ by the factor e takes 1 / (1e-3 · 0.01) = 100,000 steps; of log_variance 2,000.
"""

STEEP = 100.0
"""The slope of the KL by mean or raw, in nats, above which it is steep: log_variance's is at most ½ for σ below 1."""

NEAR_END = 0.01
"""How near log σ is to an end of its range where σ counts as at that end: 1 %."""

DIGITS = 100.0
"""The KL, in ε of the dtype, below which the usual -½ (1 + log σ² - mean² - σ²) is off by 1 % or more: it adds numbers
near 1, each off by up to ε/2."""

PRESENT = 0.01
"""The share of examples from which a latent is said to be in a state; errors count from the first one on."""

STANDARD_ERRORS = 4.0
"""How far below 0 a mean KL has to be, so that it isn't the noise of a KL that is sampled."""

LOST = 0.05
"""The share of what an ELBO had gained that it may lose again."""

EXPLODED = 100.0
"""Times the median epoch's mean gradient norm."""
