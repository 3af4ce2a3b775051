"""Several modules over one set of weights: loaded once, while hooks and dropout flags stay apart."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

__all__ = ["module_over_same_tensors"]

Network = TypeVar("Network", bound="nn.Module")


def module_over_same_tensors(network: Network) -> Network:
    """Copy a module without its parameters and buffers, which the copy shares.

    Parameters
    ----------
    network : torch.nn.Module
        Without inference tensors or gradients in progress.

    Returns
    -------
    torch.nn.Module
        With hooks and flags of its own. Whoever trains it trains the other one too.
    """
    tensors = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, dict(tensors))
