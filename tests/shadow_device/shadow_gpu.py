"""A GPU for tests: tensors say that they lie on another device, hold real values and compute on the CPU.

An operation that mixes devices fails as it does on CUDA; copies and synchronisations are counted. Built on PyTorch's
set-up for devices written in Python (PrivateUse1), which is experimental: where it is absent, importing this raises
ImportError.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

try:
    import torch.utils._mode_utils
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
except (AttributeError, ImportError) as error:
    raise ImportError(f"this PyTorch has no devices written in Python ({error})") from error

_setup_privateuseone_for_python_backend("shadow")
GPU = torch.device("shadow", 0)
_aten = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_INDEXING = {
    _aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default,
}  # fmt: skip
_WAITING = {
    _aten._local_scalar_dense.default, _aten.nonzero.default, _aten.equal.default, _aten.masked_select.default,
    _aten.is_nonzero.default,
}  # fmt: skip
"""What makes the host wait for the device."""
_JOINING = {_aten.cat.default, _aten.stack.default}
"""What takes no number from another device, which others do."""


class Counts:
    """operations and copies by name; synchronisations: how often the host waited for the device."""

    def __init__(self) -> None:
        self.operations: collections.Counter[str] = collections.Counter()
        self.copies: collections.Counter[str] = collections.Counter()
        self.synchronisations = 0


_counts = Counts()


class ShadowTensor(torch.Tensor):
    """Says that it lies on `GPU`; `held` is the tensor behind it."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> ShadowTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=GPU,
            requires_grad=False,
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _compute(function, args, kwargs or {})

    def __repr__(self) -> str:
        return f"ShadowTensor({list(self.shape)})"

    def __format__(self, _specification: str) -> str:
        return repr(self)

    def numpy(self, *args: Any, **kwargs: Any):
        raise TypeError("can't convert a tensor on the GPU to numpy; use .cpu() first")

    __array__ = numpy

    def tolist(self) -> list:
        _counts.synchronisations += 1
        return self.held.tolist()


def _on_gpu(x: Any) -> bool:
    return isinstance(x, ShadowTensor)


def _compute(function, args: tuple, kwargs: dict[str, Any]):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    device = kwargs.get("device")
    device = None if device is None else torch.device(device)
    made_there = device is not None and device.type == GPU.type
    if not made_there and not any(map(_on_gpu, tensors)):
        return function(*args, **kwargs)
    if function in _COPIES:
        _count_copy(function, args, device)
    elif function in _INDEXING:
        _check_index(function, args)
    else:
        _check_devices(function, tensors)
    _counts.synchronisations += function in _WAITING
    _counts.operations[function.name()] += 1
    if made_there:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    held_args, held_kwargs = tree_map(lambda x: x.held if _on_gpu(x) else x, (args, kwargs))
    out = function(*held_args, **held_kwargs)
    if torch.Tag.inplace_view in function.tags and _on_gpu(args[0]):
        return _reshaped(args[0], out)
    copied_to_host = function is _aten._to_copy.default and device is not None and device.type == "cpu"
    if copied_to_host or function is _aten._local_scalar_dense.default:
        return out
    known = {id(x.held if _on_gpu(x) else x): x for x in tensors}  # what an operation in place gives back
    return tree_map(
        lambda x: (
            known.get(id(x)) if id(x) in known else ShadowTensor(x) if isinstance(x, torch.Tensor) else x
        ),
        out,
    )


def _reshaped(tensor: ShadowTensor, held: torch.Tensor) -> ShadowTensor:
    """squeeze_ and its kind change the shape of the tensor they are called on."""
    tensor.held = held
    with torch.utils._mode_utils.no_dispatch():
        torch.ops.aten.as_strided_(tensor, held.shape, held.stride(), held.storage_offset())
    return tensor


def _count_copy(function, args: tuple, device: torch.device | None) -> None:
    source = args[1] if function is _aten.copy_.default else args[0]
    target = args[0].device if function is _aten.copy_.default else (device or args[0].device)
    if source.device.type != target.type:
        _counts.copies[f"{source.device.type} to {target.type}"] += 1


def _check_index(function, args: tuple) -> None:
    indices = [x for x in tree_leaves(args[1]) if isinstance(x, torch.Tensor)]
    if any(map(_on_gpu, indices)) and not _on_gpu(args[0]):
        raise RuntimeError(
            "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
        )
    if not all(map(_on_gpu, indices)):
        _counts.copies["cpu index to shadow"] += 1
    _counts.synchronisations += any(x.dtype in (torch.bool, torch.uint8) for x in indices)
    stored = args[2] if function is not _aten.index.Tensor else None
    if stored is not None and stored.ndim and _on_gpu(stored) != _on_gpu(args[0]):
        raise RuntimeError("Expected all tensors to be on the same device (index_put_)")


def _check_devices(function, tensors: list[torch.Tensor]) -> None:
    strangers = [x for x in tensors if not _on_gpu(x) and (x.ndim or function in _JOINING)]
    if strangers and any(map(_on_gpu, tensors)) and not function.name().startswith("aten::set_"):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{GPU} and cpu! ({function.name()})"
        )


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _compute(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What copies behind the dispatcher's back."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        making = function in (torch.tensor, torch.as_tensor, torch.asarray)
        device = kwargs.get("device")
        if making and device is not None and torch.device(device).type == GPU.type:
            del kwargs["device"]
            _counts.copies["cpu to shadow"] += 1
            return ShadowTensor(function(*args, **kwargs))
        if function is torch.Tensor.new_tensor and _on_gpu(args[0]):
            _counts.copies["cpu to shadow"] += 1
            return ShadowTensor(torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)))
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and _on_gpu(args[0]):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            parts = tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts)
            return function(args[0], parts, *args[2:])
        if function is torch.Tensor.numpy and _on_gpu(args[0]):
            args[0].numpy()
        return function(*args, **kwargs)


@contextlib.contextmanager
def shadow_gpu() -> Iterator[Counts]:
    """While it is active, tensors may lie on `GPU`."""
    _counts.__init__()
    with _Functions(), _Dispatch():
        yield _counts
