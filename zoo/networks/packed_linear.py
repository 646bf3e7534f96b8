"""Linear layers whose weights oneDNN has packed for this CPU: the one place that calls PyTorch's private products for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PACK, PRODUCT = "_reorder_linear_weight", "_linear_pointwise"
"""The private operators, of torch.ops.mkldnn: torch.compile makes them, so they are there in every build with oneDNN."""
ROUNDING = {torch.float32: 4e-6, torch.bfloat16: 2.0**-6}
"""How far, as a share of the largest number, two products that only round differently may lie apart; dtypes that are served."""
ACTIVATIONS = ("act", "activation_fn")
"""How our Mlp and the models of transformers call what follows their `fc1`."""
WORK, SECONDS, MARGIN = 3e8, 4e-3, 0.97
"""Multiply-adds and time of one measurement; the share of the plain time below which a packed product is worth having."""


class Shape(NamedTuple):
    """One kind of linear layer as a model runs it."""

    inputs: int
    outputs: int
    rows: int
    dtype: torch.dtype
    gelu: str | None = None
    """What follows it at once: "tanh" or "none" (exact), as torch.nn.GELU says it; None: something else."""

    def __str__(self) -> str:
        words = f"{self.rows}x{self.inputs}x{self.outputs} {str(self.dtype).removeprefix('torch.')}"
        return words if self.gelu is None else f"{words} gelu {self.gelu}"


class PackedLinear(nn.Linear):
    """A linear layer, and the GELU after it, as one product with packed weights, of which there is no other copy.

    Where gradients are asked for, or the input has another dtype, it computes as nn.Linear does. `weight` is a parameter in oneDNN's
    layout: its shape, dtype and device are as ever, `weight.to_dense()` gives the numbers. State dicts and copies hold plain ones.
    """

    def __init__(self, linear: nn.Linear, rows: int, gelu: str | None = None) -> None:
        """rows: of the inputs that are usual, for which the layout is chosen; any number will do."""
        nn.Module.__init__(self)  # nn.Linear's own would make another weight
        self.in_features, self.out_features, self.gelu = linear.in_features, linear.out_features, gelu
        packed = getattr(torch.ops.mkldnn, PACK)(linear.weight.detach(), max(rows, 2))  # one row alone would get a slower layout
        self.weight, self.bias = nn.Parameter(packed, requires_grad=False), linear.bias
        self._after = ("none", [], "") if gelu is None else ("gelu", [], gelu)

    def forward(self, x: Tensor) -> Tensor:
        gradient = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if self.weight.is_mkldnn and x.dtype == self.weight.dtype and not gradient and not torch.is_autocast_enabled(x.device.type):
            return getattr(torch.ops.mkldnn, PRODUCT)(x, self.weight, self.bias, *self._after)
        y = F.linear(x, self.weight.to_dense(), self.bias)
        return y if self.gelu is None else F.gelu(y, approximate=self.gelu)

    def extra_repr(self) -> str:
        """As nn.Linear's, and that it is packed."""
        return super().extra_repr() + (", packed" if self.weight.is_mkldnn else "")

    def unpack(self) -> None:
        """Hold the weight as nn.Linear does."""
        self.weight = nn.Parameter(self.weight.detach().to_dense(), self.weight.requires_grad)

    def _apply(self, fn: Callable, recurse: bool = True) -> PackedLinear:
        self.unpack()  # another device or dtype knows no packed weights
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self.unpack()
        super()._load_from_state_dict(*arguments)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = destination[prefix + "weight"].to_dense()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy, or a pickle, holds."""
        weight = nn.Parameter(self.weight.detach().to_dense(), self.weight.requires_grad)
        return self.__dict__ | {"_parameters": self._parameters | {"weight": weight}}


@cache
def works(dtype: torch.dtype, gelu: str | None) -> bool:
    """Whether this machine has packed products of a kind and they agree with the plain ones up to rounding; tried once a process."""
    if dtype not in ROUNDING or not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=generator).to(dtype) for size in ((66, 200), (136, 200), (136,)))
    linear = plain_linear(weight / 200**0.5, bias)
    with torch.no_grad():
        plain = with_gelu(linear, gelu)(x)
        try:
            packed = PackedLinear(linear, len(x), gelu)(x)
        except (AttributeError, RuntimeError, TypeError):  # not there, not for this CPU, or with other arguments than those known here
            return False
    return bool((packed.float() - plain.float()).abs().max() <= ROUNDING[dtype] * plain.float().abs().max())


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """nn.Linear with these weights."""
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight, linear.bias = nn.Parameter(weight, False), None if bias is None else nn.Parameter(bias, False)
    return linear


def with_gelu(linear: nn.Linear, gelu: str | None) -> nn.Module:
    """A plain layer and the GELU after it."""
    return linear if gelu is None else nn.Sequential(linear, nn.GELU(approximate=gelu))


@torch.no_grad()
def shapes_of(module: nn.Module, run: Callable[[nn.Module], Any], times: int = 1) -> dict[str, Shape]:
    """The linear layers of a module that a run of it passes, by name, and their shapes.

    run(module) is called with a stand-in without memory, whose tensors are on meta; times: how many inputs like it usually go together.
    """
    rows: dict[str, int] = {}
    hooks = []
    for name, part in module.named_modules():
        if type(part) is nn.Linear:  # not what inherits from it: nn.MultiheadAttention, for one, reads its weights itself

            def note(_: nn.Module, inputs: tuple[Tensor], __: Tensor, name: str = name) -> None:
                rows[name] = times * inputs[0].shape[:-1].numel()

            hooks.append(part.register_forward_hook(note))
    try:
        skeleton = {name: value.to("meta") for name, value in [*module.named_parameters(), *module.named_buffers()]}
        torch.func.functional_call(_Run(module, run), {f"module.{name}": value for name, value in skeleton.items()}, ())
    finally:
        for hook in hooks:
            hook.remove()
    layers = {name: module.get_submodule(name) for name in rows}
    return {
        name: Shape(layer.in_features, layer.out_features, rows[name], layer.weight.dtype, _gelu_after(module, name))
        for name, layer in layers.items()
    }


class _Run(nn.Module):
    """A run as a forward, so that functional_call can put other tensors in."""

    def __init__(self, module: nn.Module, run: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.module, self.run = module, run

    def forward(self) -> Any:
        return self.run(self.module)


def _gelu_after(module: nn.Module, name: str) -> str | None:
    """The GELU between an `fc1` and what follows, of our Mlp and those of transformers."""
    parent, _, child = name.rpartition(".")
    act = _activation(module.get_submodule(parent))[1] if child == "fc1" else None
    return act.approximate if isinstance(act, nn.GELU) else "none" if type(act).__name__ == "GELUActivation" else None


def _activation(owner: nn.Module) -> tuple[str, nn.Module | None]:
    """The part of an MLP between its layers, and its name."""
    return next(((name, part) for name, part in owner.named_children() if name in ACTIVATIONS), ("", None))


@torch.no_grad()
def faster(linear: nn.Linear, shape: Shape) -> bool:
    """Measure whether the packed product of a layer wins here, with the threads that this thread of the program has."""
    if not works(shape.dtype, shape.gelu):
        return False
    rows = min(shape.rows, max(32, int(WORK / (shape.inputs * shape.outputs))))
    x = torch.randn(rows, shape.inputs).to(shape.dtype)
    pair = with_gelu(linear, shape.gelu), PackedLinear(linear, rows, shape.gelu)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter  # the former sees no other program

    def seconds(layer: nn.Module) -> float:
        before = clock()
        layer(x)
        return clock() - before

    slowest = max([seconds(layer) for layer in pair])  # the first call of each also prepares its kernel
    laps = [[seconds(layer) for layer in pair] for _ in range(min(100, max(3, int(SECONDS / slowest))))]
    plain, packed = (min(times) for times in zip(*laps, strict=True))
    return packed < MARGIN * plain


@torch.no_grad()
def pack(module: nn.Module, shapes: Mapping[str, Shape]) -> None:
    """Replace these linear layers of a module by packed ones, and a GELU after them by nothing."""
    for name, shape in shapes.items():
        parent, _, child = name.rpartition(".")
        owner = module.get_submodule(parent)
        setattr(owner, child, PackedLinear(getattr(owner, child), shape.rows, shape.gelu))
        if shape.gelu is not None:
            setattr(owner, _activation(owner)[0], nn.Identity())
