"""The thresholds beyond which something is wrong with a latent or a run; ``states`` has the descriptions.

Information is in nats.
"""

IDLE = 0.01
"""The number of nats, and the variance of the posterior mean over the data, below which a latent does nothing (Burda et
al. 2016)."""

COSTLY = 0.1
"""The KL, in nats, above which a latent that carries less information than ``IDLE`` is reported."""

DEAF = 0.01
"""The |d log σ / d raw| below which σ is saturated. A step of Adam moves raw by about the learning rate (Kingma & Ba
2015, section 2.1): at 1e-3 it takes 1 / (1e-3 · 0.01) = 100,000 steps to change σ by a factor of e, and 2,000 under
log_variance."""

STEEP = 100.0
"""The derivative of the KL with respect to mean or raw, in nats, above which it is steep; that with respect to
log_variance's raw is at most ½ for σ below 1."""

NEAR_END = 0.01
"""The distance of log σ from an end of its range below which σ counts as at that end: 1 % of σ."""

DIGITS = 100.0
"""The KL, in ε of the dtype, below which -½ (1 + log σ² - mean² - σ²) is off by 1 % or more: it adds numbers near 1,
each with an error of up to ε/2."""

PRESENT = 0.01
"""The least share of examples for which a state of a latent is reported; an error is reported for any share."""

STANDARD_ERRORS = 4.0
"""The number of standard errors that a mean KL must be below 0, so that it isn't just the noise of a sampled KL."""

LOST = 0.05
"""The share of its gain that an ELBO may lose again without a finding."""

EXPLODED = 100.0
"""The multiple of the median epoch's mean gradient norm above which an epoch's norm counts as an explosion."""
