"""Monte-Carlo dropout: dropout layers of a network, dropout added to one without, and reproducible passes.

SAM, MedSAM and LiteMedSAM have no active dropout, so all their passes are equal. :func:`insert_dropout` adds dropout
after chosen layers through hooks: no parameter is added, and weights can be loaded before or after.
:func:`active_dropout` then switches dropout on, and nothing else.

The masks do not come from torch's random state. Pass `t` of layer `l` under seed `s` keeps the same entries on every
call, in every batch and on every device, so that pass `t` of all slices is one coherent structure and the first eight
of sixteen passes equal eight passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xai.errors import UncertaintyError, ZeroVarianceError

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

__all__ = [
    "SAM_MASK_DECODER_LAYERS",
    "InsertedDropout",
    "active_dropout",
    "dropout_modules",
    "insert_dropout",
    "require_variance",
]

SAM_MASK_DECODER_LAYERS = ("*.out_proj", "*.mlp.lin2", "upscale_conv1")
"""Layers of SAM's mask decoder that get dropout: after each attention and each MLP, before the residual sum (the places
of the original transformer, arXiv 1706.03762 §5.4), and in the features that are upscaled to the mask."""

_CHILD = "inserted_dropout"
_AXIS = "channel_axis"
_ADVICE = (
    "Insert dropout first (xai.dropout.insert_dropout; SAM, MedSAM and LiteMedSAM have none of their own) and run the "
    "samples inside xai.dropout.active_dropout."
)


@dataclass(frozen=True, slots=True)
class InsertedDropout:
    """Dropout added to a network: after which layers, and at which rate."""

    layers: tuple[str, ...]
    rate: float
    _parents: tuple[Any, ...]
    _handles: tuple[Any, ...]

    def remove(self) -> None:
        """Remove the dropout; the network is as before."""
        for parent, handle in zip(self._parents, self._handles, strict=True):
            handle.remove()
            if hasattr(parent, _CHILD):
                delattr(parent, _CHILD)


def dropout_modules(network: Module) -> dict[str, Module]:
    """Dropout layers of `network` with a rate strictly between 0 and 1, by name.

    These are ``torch.nn.Dropout``, ``Dropout1d``, ``Dropout2d``, ``Dropout3d`` and those of :func:`insert_dropout`.
    Functional dropout inside a layer's ``forward`` (as in ``torch.nn.MultiheadAttention``) is not found.
    """
    from torch import nn

    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    return {
        name: module for name, module in network.named_modules() if isinstance(module, kinds) and 0.0 < module.p < 1.0
    }


def insert_dropout(
    network_part: Module, rate: float, *, layers: Sequence[str] = SAM_MASK_DECODER_LAYERS
) -> InsertedDropout:
    """Add channel dropout after layers of a network that has none.

    Whole channels are dropped, as in ``Dropout2d``: an output channel of a convolution, a feature of a linear layer for
    all tokens alike. A mask therefore does not depend on the number of prompts or tokens.

    Parameters
    ----------
    network_part : torch.nn.Module
        For instance ``sam.mask_decoder``. Its ``state_dict`` keeps its keys.
    rate : float
        Share of dropped channels, strictly between 0 and 1.
    layers
        Patterns (``fnmatch``) of names of linear or convolution layers inside `network_part`.

    Raises
    ------
    UncertaintyError
        If the rate is out of range, a pattern fits no layer, a layer has no known channel axis, or has dropout already.

    References
    ----------
    .. [1] Gal, Ghahramani, Dropout as a Bayesian approximation, ICML 2016, arXiv 1506.02142.
    .. [2] Tompson et al., Efficient object localization using convolutional networks (channel dropout), CVPR 2015,
       doi:10.1109/CVPR.2015.7298664.
    """
    from torch import nn

    if not 0.0 < rate < 1.0:
        raise UncertaintyError(f"Expected a dropout rate strictly between 0 and 1, got {rate}.")
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    by_name = dict(network_part.named_modules())
    chosen: list[str] = []
    for pattern in layers:
        fitting = [name for name in by_name if fnmatchcase(name, pattern)]
        if not fitting:
            raise UncertaintyError(f"No layer of {type(network_part).__name__} fits {pattern!r}; give names it has.")
        chosen.extend(name for name in fitting if name not in chosen)
    for name in chosen:
        if not isinstance(by_name[name], (nn.Linear, *convolutions)):
            kind = type(by_name[name]).__name__
            raise UncertaintyError(f"Expected linear or convolution layers, {name!r} is a {kind}: name a layer inside.")
        if hasattr(by_name[name], _CHILD):
            raise UncertaintyError(f"Layer {name!r} has inserted dropout already; remove that first.")

    handles = []
    for name in chosen:
        layer = by_name[name]
        drop = nn.Dropout(rate).train(layer.training)
        setattr(drop, _AXIS, 1 if isinstance(layer, convolutions) else -1)
        layer.add_module(_CHILD, drop)
        handles.append(layer.register_forward_hook(_drop_output))
    return InsertedDropout(tuple(chosen), float(rate), tuple(by_name[name] for name in chosen), tuple(handles))


@contextmanager
def active_dropout(network: Module, seed: int, *, first_pass: int = 0, passes: int | None = None) -> Iterator[None]:
    """Switch dropout on inside the block, with everything else (batch norm, ...) in evaluation mode.

    Entry `b` of the batch axis (axis 0) is pass ``first_pass + b``. With `passes`, a batch of ``n · passes`` holds n
    inputs one after the other, each with all its passes. A layer drops the same entries however often it is called.
    Afterwards every train/eval flag is restored; torch's random state is not used. The hooks are on the network inside
    the block, so two threads must not use it at the same time.

    Channel dropout (inserted, ``Dropout2d``, ...) drops the same channels whatever the size of the input; plain
    ``Dropout`` drops single entries, the same ones only for inputs of the same size.

    Raises
    ------
    ZeroVarianceError
        If there is no dropout to activate.
    UncertaintyError
        If `seed`, `first_pass` or `passes` cannot be right, or a batch is not a multiple of `passes`.
    """
    drops = dropout_modules(network)
    if not drops:
        raise ZeroVarianceError(f"Expected active dropout in {type(network).__name__}, found none. {_ADVICE}")
    if seed < 0 or first_pass < 0 or (passes is not None and passes < 1):
        raise UncertaintyError(f"Expected seed >= 0, first_pass >= 0, passes >= 1; got {seed}, {first_pass}, {passes}.")
    was_training = {module: module.training for module in network.modules()}
    handles = []
    try:
        network.eval()
        for index, drop in enumerate(drops.values()):
            mask = _PassMask(seed=int(seed), layer=index, first_pass=int(first_pass), passes=passes)
            handles.append(drop.register_forward_hook(mask))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in was_training.items():
            module.training = training


def require_variance(samples: ArrayLike) -> None:
    """Refuse stochastic passes that are all equal.

    Parameters
    ----------
    samples : (T, ...) float
        Logits or probabilities of T passes, before any thresholding.

    Raises
    ------
    ZeroVarianceError
        If there are fewer than two passes, or all are equal to the last bit.
    UncertaintyError
        If a value is not finite.
    """
    passes = np.asarray(samples)
    if passes.ndim < 1 or passes.shape[0] < 2:
        raise ZeroVarianceError(f"Expected at least 2 stochastic passes along axis 0, got shape {passes.shape}.")
    if not np.isfinite(passes).all():
        raise UncertaintyError("Expected finite samples, got NaN or infinity; a lower dropout rate may help.")
    if all(np.array_equal(one, passes[0]) for one in passes[1:]):
        raise ZeroVarianceError(
            f"All {passes.shape[0]} stochastic passes are equal: what they differ in does not reach the logits. "
            f"If it is dropout: {_ADVICE[0].lower()}{_ADVICE[1:]}"
        )


def _drop_output(layer: Module, arguments: tuple[Any, ...], output: torch.Tensor) -> Any:
    return getattr(layer, _CHILD)(output)


@dataclass(frozen=True, slots=True)
class _PassMask:
    """Hook on a dropout layer in evaluation mode, where it is the identity: drops by seed, layer and pass number."""

    seed: int
    layer: int
    first_pass: int
    passes: int | None

    def __call__(self, drop: Module, arguments: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        import torch

        batch = output.shape[0]
        passes = batch if self.passes is None else self.passes
        if batch % passes:
            raise UncertaintyError(f"Expected a batch that is a multiple of {passes} passes, got {batch}.")
        shape = _mask_shape(drop, tuple(output.shape))
        rate = float(drop.p)  # type: ignore[arg-type]
        kept = np.stack([self._kept(self.first_pass + number, shape, rate) for number in range(passes)])
        scaled = torch.from_numpy(np.tile(kept, (batch // passes, *[1] * len(shape)))).to(output)
        return output * scaled.div_(1.0 - rate)

    def _kept(self, number: int, shape: tuple[int, ...], rate: float) -> NDArray[np.float32]:
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, self.layer, number))))
        return (generator.random(shape, dtype=np.float32) >= rate).astype(np.float32)


def _mask_shape(drop: Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one pass's mask, which broadcasts over all axes along which the layer drops the same entries."""
    from torch import nn

    axis = getattr(drop, _AXIS, None)
    if axis is None:
        if isinstance(drop, nn.Dropout):
            return shape[1:]
        axis = 1
    axis %= len(shape)
    return tuple(size if position == axis else 1 for position, size in enumerate(shape))[1:]
