"""Adapters for other libraries' distributions and bijectors, for trained layers, and for weights in files.

Importing this package loads none of these libraries; each is loaded by the function that needs it.
"""

from jaxvae.interop.bijectors import from_bijector as from_bijector
from jaxvae.interop.layers import convert_head as convert_head
from jaxvae.interop.layers import convert_head_params as convert_head_params
from jaxvae.interop.moments import from_moments as from_moments
from jaxvae.interop.peers import from_distrax as from_distrax
from jaxvae.interop.peers import from_numpyro as from_numpyro
from jaxvae.interop.peers import from_tfp as from_tfp
from jaxvae.interop.peers import to_distrax as to_distrax
from jaxvae.interop.peers import to_numpyro as to_numpyro
from jaxvae.interop.peers import to_tfp as to_tfp
from jaxvae.interop.safetensors import load_safetensors as load_safetensors
from jaxvae.interop.safetensors import safetensors_metadata as safetensors_metadata
from jaxvae.interop.safetensors import save_safetensors as save_safetensors
