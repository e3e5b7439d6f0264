"""fnnet: feed-forward neural networks as pure functions over NumPy arrays."""

from fnnet.network import Layer as Layer
from fnnet.network import Params as Params
