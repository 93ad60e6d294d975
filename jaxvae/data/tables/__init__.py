"""Tables of counts, real numbers and categories, with missing entries, from the usual kinds of files."""

from jaxvae.data.tables.columns import LIKELIHOODS as LIKELIHOODS
from jaxvae.data.tables.columns import Column as Column
from jaxvae.data.tables.columns import Kind as Kind
from jaxvae.data.tables.columns import kinds_text as kinds_text
from jaxvae.data.tables.columns import parsed_kinds as parsed_kinds
from jaxvae.data.tables.columns import read_kinds as read_kinds
from jaxvae.data.tables.contents import TableReading as TableReading
from jaxvae.data.tables.formats import as_table as as_table
from jaxvae.data.tables.formats import is_table as is_table
from jaxvae.data.tables.formats import load_table as load_table
from jaxvae.data.tables.huggingface import read_saved_images as read_saved_images
from jaxvae.data.tables.known import KNOWN as KNOWN
from jaxvae.data.tables.known import load_known as load_known
from jaxvae.data.tables.summary import describe_table as describe_table
from jaxvae.data.tables.tabular import DataTable as DataTable
