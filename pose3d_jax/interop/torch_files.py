"""Reads the tensors of PyTorch files, without PyTorch and without running what they contain.

A PyTorch file is a pickle with the tensors' memory beside it: behind it in the container of before
2020, in a zip archive since. Unpickling here knows tensors and a few containers. Every other class
of the packages that networks come from becomes an inert stand-in, which keeps the state it is given
and does nothing; any other name is refused.
"""

import collections
import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import check_file, read_isolated, reason

#: The first thing in the old container.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: Packages whose classes become stand-ins: PyTorch, its companions, and the release's own.
_STAND_INS = ("torch", "models", "numpy", "argparse")
_STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


#: What a file may take to read, besides four times its size; bytes, and seconds of computing.
SPARE_MEMORY, SECONDS = 512 << 20, 20


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The parameters and buffers of a state dict or of a whole pickled model, by name.

    A state dict may be an entry `state_dict` or `model` of another dictionary; the prefix `module.`
    of parallel training is dropped.

    A few bytes can ask for gigabytes (an index into what was unpickled), for years (the hash of a
    tuple of twice the same tuple, forty levels deep) or for more stack than there is. So the file
    is read in a process of its own, which may take as much memory as four such files and 512 MiB,
    on Linux, and 20 s of computing.

    Raises:
        UserError: it is no PyTorch file, is damaged, asks for more memory or time, or contains
            something else than a network.
    """
    check_file(path)
    memory = 4 * os.path.getsize(path) + SPARE_MEMORY
    return read_isolated(_read, path, memory=memory, seconds=SECONDS)


def _read(path: str) -> dict[str, np.ndarray]:
    """`read_tensors` in the child."""
    try:
        with open(path, "rb") as file:
            read = _read_zip if zipfile.is_zipfile(file) else _read_legacy
            file.seek(0)
            root, storages = read(file)
        tensors = {name: _to_array(t, storages) for name, t in _named_tensors(root)}
    except MemoryError:
        raise
    except _RefusedError as error:
        raise UserError(
            f"{path} is refused: it asks for {reason(error)}, which no network needs; a file like "
            "that can run code where PyTorch loads it. Nothing of it was run."
        ) from None
    except Exception as error:
        # A pickle is a program: it can bring its own interpreter, and what is built from its
        # results, to any exception there is.
        raise UserError(f"{path} is no PyTorch file, or is damaged: {reason(error)}.") from error
    if not tensors:
        raise UserError(f"{path} contains neither a model nor a state dict.")
    return tensors


class _RefusedError(Exception):
    """A file asks for something that is neither a tensor nor a stand-in."""


class _StandIn:
    """An object of a file: keeps its state, does nothing."""

    def __init__(self, *arguments):
        self.state: Any = {}

    def __setstate__(self, state):
        self.state = state


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, stride, *_) -> _Tensor:
    return _Tensor(storage, offset, shape, stride)


def _rebuild_parameter(tensor, *_) -> _Tensor:
    return tensor


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _Unpickler(pickle.Unpickler):
    """Makes tensors, containers and stand-ins, and nothing else."""

    def __init__(self, file: io.BufferedIOBase):
        # Files of 2018 were often written by Python 2.
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.cuda") and name in _STORAGE_TYPES:
            return np.dtype(_STORAGE_TYPES[name])
        if module.split(".")[0] in _STAND_INS:
            return type(name, (_StandIn,), {})
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, identifier: Any) -> Any:
        if identifier[0] == "module":  # A class with its source, for warnings only.
            return identifier[1]
        _, dtype, key = identifier[:3]
        if not isinstance(dtype, np.dtype):
            raise ValueError(f"numbers of the kind {getattr(dtype, '__name__', dtype)}")
        return _Storage(str(key), dtype)


def _read_legacy(file: BinaryIO) -> tuple[Any, dict[str, bytes]]:
    """The old container: four pickles, the storages' keys, and their memory one after another."""
    magic, _, system, root = (_Unpickler(file).load() for _ in range(4))
    if magic != _LEGACY_MAGIC or not system["little_endian"]:
        raise ValueError("it does not begin as one of this kind of machine")
    sizes = {s.key: s.dtype.itemsize for s in _storages(root)}
    storages = {}
    for key in map(str, _Unpickler(file).load()):
        (count,) = struct.unpack("<q", file.read(8))
        # What belongs to no tensor comes with an unknown size: it can only be the last.
        storages[key] = file.read(count * sizes[key]) if key in sizes else file.read()
    return root, storages


def _read_zip(file: BinaryIO) -> tuple[Any, dict[str, bytes]]:
    """A zip archive with `data.pkl`, and the memory of storage K in `data/K`."""
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip archive without its data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        with archive.open(pickles[0]) as pickled:
            root = _Unpickler(pickled).load()
        keys = {storage.key for storage in _storages(root)}
        return root, {key: archive.read(f"{folder}data/{key}") for key in keys}


def _storages(root: Any) -> Iterator[_Storage]:
    return (tensor.storage for _, tensor in _named_tensors(root))


def _named_tensors(root: Any) -> Iterator[tuple[str, _Tensor]]:
    """Parameters and buffers with their names, as PyTorch's `state_dict` has them."""
    if isinstance(root, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(root.get(key), Mapping | _StandIn):
                root = root[key]
    entries = _module_tensors(root) if isinstance(root, _StandIn) else root.items()
    for name, value in entries:
        if isinstance(name, str) and isinstance(value, _Tensor):
            yield name.removeprefix("module."), value


def _module_tensors(module: _StandIn, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for group in ("_parameters", "_buffers"):
        for name, value in module.state.get(group, {}).items():
            yield prefix + name, value
    for name, child in module.state.get("_modules", {}).items():
        if isinstance(child, _StandIn):
            yield from _module_tensors(child, f"{prefix}{name}.")


def _to_array(tensor: _Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    """Copies a tensor out of its storage, in which nothing may reach beyond the end."""
    flat = np.frombuffer(storages[tensor.storage.key], tensor.storage.dtype)
    shape, stride = tuple(tensor.shape), tuple(tensor.stride)
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if min((tensor.offset, *shape, *stride)) < 0 or math.prod(shape) > len(flat):
        raise ValueError("a tensor does not fit its memory")
    if 0 in shape:
        return np.zeros(shape, flat.dtype)
    if last >= len(flat):
        raise ValueError("a tensor reaches beyond its memory")
    strides = [s * flat.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], shape, strides).copy()
