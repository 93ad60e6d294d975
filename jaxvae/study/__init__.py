"""The study: many trainings side by side, their statistics and the report."""

from jaxvae import extras

extras.require_train_extra(__name__, "flax", "matplotlib", "optax", "orbax", "scipy")

from jaxvae.study.clusters import run_on_ray as run_on_ray
from jaxvae.study.clusters import submit_to_slurm as submit_to_slurm
from jaxvae.study.comparison import compare as compare
from jaxvae.study.comparison import estimate as estimate
from jaxvae.study.comparison import is_study as is_study
from jaxvae.study.comparison import merge_studies as merge_studies
from jaxvae.study.comparison import read_baseline as read_baseline
from jaxvae.study.comparison import read_grid as read_grid
from jaxvae.study.comparison import read_search as read_search
from jaxvae.study.grid import DEFAULT as DEFAULT
from jaxvae.study.grid import QUICK as QUICK
from jaxvae.study.grid import command as command
from jaxvae.study.grid import configurations as configurations
from jaxvae.study.grid import extended as extended
from jaxvae.study.planning import Estimate as Estimate
from jaxvae.study.planning import cells_of as cells_of
from jaxvae.study.report.writing import write_report as write_report
from jaxvae.study.results import RESULTS as RESULTS
from jaxvae.study.results import read_results as read_results
from jaxvae.study.shards import ALONE as ALONE
from jaxvae.study.shards import Shard as Shard
from jaxvae.study.shards import read_tables as read_tables
from jaxvae.study.shards import shard_of as shard_of
from jaxvae.study.shards import shard_of_job as shard_of_job
