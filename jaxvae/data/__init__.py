"""Datasets (bundled, from tensorflow-datasets, or your own), binarization, and batches of data beyond memory."""

from jaxvae import extras

extras.require_train_extra(__name__, "PIL", "tensorflow_datasets")

from jaxvae.data.arrays import from_arrays as from_arrays
from jaxvae.data.contracts import DataContract as DataContract
from jaxvae.data.contracts import contract_from_mapping as contract_from_mapping
from jaxvae.data.contracts import contract_of as contract_of
from jaxvae.data.dataset import Dataset as Dataset
from jaxvae.data.dataset import Split as Split
from jaxvae.data.dataset import describe as describe
from jaxvae.data.dataset import hold_out as hold_out
from jaxvae.data.dataset import report as report
from jaxvae.data.features import Feature as Feature
from jaxvae.data.features import covariates_told as covariates_told
from jaxvae.data.features import in_own_terms as in_own_terms
from jaxvae.data.features import kinds_told as kinds_told
from jaxvae.data.features import names_told as names_told
from jaxvae.data.iterables import from_batches as from_batches
from jaxvae.data.loading import Entry as Entry
from jaxvae.data.loading import load as load
from jaxvae.data.loading import load_again as load_again
from jaxvae.data.loading import names as names
from jaxvae.data.loading import origin_of as origin_of
from jaxvae.data.loading import prepare as prepare
from jaxvae.data.loading import suggested as suggested
from jaxvae.data.observation import METHODS as METHODS
from jaxvae.data.observation import binarize as binarize
from jaxvae.data.observation import observe as observe
from jaxvae.data.options import LAYOUTS as LAYOUTS
from jaxvae.data.options import Reading as Reading
from jaxvae.data.origins import Origin as Origin
from jaxvae.data.origins import fingerprint as fingerprint
from jaxvae.data.origins import origin_from_mapping as origin_from_mapping
from jaxvae.data.origins import require_apart as require_apart
from jaxvae.data.streaming import stream as stream
from jaxvae.data.suspicions import oddities as oddities
from jaxvae.data.tabulated import from_table as from_table
from jaxvae.data.unsplit import Unsplit as Unsplit
from jaxvae.data.unsplit import load_labels as load_labels
from jaxvae.data.unsplit import load_unsplit as load_unsplit
