"""The diagnosis of a posterior: what is wrong with its latents, by which criterion, and what to change."""

from jaxvae.diagnosis.criteria import IDLE as IDLE
from jaxvae.diagnosis.posterior import Diagnosis as Diagnosis
from jaxvae.diagnosis.posterior import diagnose as diagnose
from jaxvae.diagnosis.states import STATES as STATES
from jaxvae.diagnosis.states import Finding as Finding
from jaxvae.diagnosis.states import finding as finding
