"""The study: many trainings side by side, their statistics and the report."""

from jaxvae.study.grid import DEFAULT as DEFAULT
from jaxvae.study.grid import QUICK as QUICK
from jaxvae.study.grid import command as command
from jaxvae.study.grid import configurations as configurations
from jaxvae.study.grid import extended as extended
from jaxvae.study.report import write_report as write_report
from jaxvae.study.results import RESULTS as RESULTS
from jaxvae.study.results import read_results as read_results
from jaxvae.study.run import compare as compare
from jaxvae.study.run import is_study as is_study
from jaxvae.study.run import merge_studies as merge_studies
from jaxvae.study.run import read_grid as read_grid
