"""What ails a posterior, and what to change: criteria, and the words for what they find."""

from jaxvae.diagnosis.criteria import IDLE as IDLE
from jaxvae.diagnosis.posterior import Diagnosis as Diagnosis
from jaxvae.diagnosis.posterior import diagnose as diagnose
from jaxvae.diagnosis.states import STATES as STATES
from jaxvae.diagnosis.states import Finding as Finding
from jaxvae.diagnosis.states import finding as finding
