"""Reads the tensors of PyTorch files, without PyTorch and without running code from the file.

A PyTorch file is a pickle and the tensors' memory: memory follows the pickle in the container of
before 2020, and both are in a zip archive since. The unpickler here builds tensors and a few
containers. Every other class, such as NumPy's numbers, paths, dates or a training script's own
options, becomes an inert stand-in that stores its state and runs nothing. Functions of Python's
standard library are refused.
"""

import collections
import functools
import io
import math
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.untrusted import check_file, read_isolated, reason

#: The first object in the old container.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: Modules of the standard library whose classes become stand-ins; others of it are refused.
_DATA_MODULES = {
    "_codecs", "argparse", "array", "collections", "copyreg", "dataclasses", "datetime", "decimal",
    "enum", "fractions", "functools", "numbers", "pathlib", "random", "typing", "uuid", "zoneinfo",
}  # fmt: skip
#: The same for built-in names, those of Python 2 included.
_DATA_BUILTINS = {
    "bool", "bytearray", "bytes", "complex", "dict", "float", "int", "list", "object", "range",
    "slice", "str", "tuple", "Ellipsis", "long", "unicode", "xrange",
}  # fmt: skip
#: bfloat16 as its two bytes: NumPy has no such type.
_BFLOAT16 = np.dtype("V2")
_STORAGE_TYPES = {
    "DoubleStorage": np.dtype("<f8"), "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"), "BFloat16Storage": _BFLOAT16,
    "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"), "BoolStorage": np.dtype("?"),
}  # fmt: skip
#: Attributes of a module that hold its parameters, buffers and parts; names do not contain them.
_GROUPS = ("_parameters", "_buffers", "_modules")
#: Limits on reading a file, besides four times its size: bytes, and seconds of CPU time.
SPARE_MEMORY, SECONDS = 512 << 20, 20


def read_tensors(path: str | os.PathLike, landmark: str) -> dict[str, np.ndarray]:
    """Reads the parameters and buffers of a network, by name. bfloat16 becomes float32.

    A training script's file holds more than the network, in dictionaries and objects of its own,
    and wrappers such as DataParallel put prefixes before names. The network is therefore everything
    in the place of a tensor that is called `landmark`; names are relative to it. Moving averages
    of the weights are read if there is nothing else.

    A few bytes can request gigabytes (an index into the unpickler's memo), years (the hash of
    nested tuples) or any depth of stack. The file is therefore read in a process with limits: four
    times the file's size plus 512 MiB of memory, on Linux, and 20 s of CPU time.

    Args:
        path: of a state dict, a whole pickled model, or anything that contains one.
        landmark: name of one of the network's tensors.

    Returns:
        The tensors; none if nothing in the file has the landmark's name.

    Raises:
        UserError: it is no PyTorch file, is damaged, exceeds the limits, or refers to functions.
    """
    check_file(path)
    memory = 4 * os.path.getsize(path) + SPARE_MEMORY
    reader = functools.partial(_read, landmark=landmark)
    return read_isolated(reader, path, memory=memory, seconds=SECONDS)


def _read(path: str, landmark: str) -> dict[str, np.ndarray]:
    """`read_tensors` in the limited process."""
    try:
        with open(path, "rb") as file:
            read = _read_zip if zipfile.is_zipfile(file) else _read_legacy
            file.seek(0)
            tensors, storages = read(file, landmark)
        return {name: _to_array(tensor, storages) for name, tensor in tensors.items()}
    except MemoryError:
        raise
    except _RefusedError as error:
        raise UserError(
            f"{path} is refused: it asks for {reason(error)}, which no network needs; a file like "
            "that can run code where PyTorch loads it. Nothing of it was run."
        ) from None
    except Exception as error:  # A pickle is a program, and can cause any exception.
        raise UserError(f"{path} is no PyTorch file, or is damaged: {reason(error)}.") from error


class _RefusedError(Exception):
    """A file refers to a function that no network needs."""


class _StandIn(dict):
    """Stands for an object of any class: stores its state and items, and runs nothing."""

    state: Any = None

    def __init__(self, *_, **__):
        super().__init__()

    def __setstate__(self, state):
        self.state = state

    def append(self, *_):
        """Ignores the item of a list or set."""

    extend = add = append
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype | None


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, stride, *_) -> _Tensor:
    return _Tensor(storage, offset, shape, stride)


def _reconstruct(_, __, items) -> _StandIn:
    """`copyreg._reconstructor`: an instance of a subclass of a built-in class."""
    stand_in = _StandIn()
    if isinstance(items, dict):
        stand_in.update(items)
    return stand_in


def _attribute(owner, name) -> type:
    """`getattr` of a training script's own object: a class in a class, or a method."""
    if getattr(owner, "__module__", "builtins").split(".")[0] in sys.stdlib_module_names:
        raise _RefusedError("builtins.getattr")
    return type(name, (_StandIn,), {})


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "getattr"): _attribute,
    ("logging", "getLogger"): _StandIn,
    ("re", "_compile"): _StandIn,
    ("time", "struct_time"): _StandIn,
    ("types", "SimpleNamespace"): _StandIn,
    ("torch._tensor", "_rebuild_from_type_v2"): lambda function, _, arguments, *__: function(
        *arguments
    ),
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
}


class _Unpickler(pickle.Unpickler):
    """Builds tensors, containers and stand-ins.

    Attributes:
        storages: all storages that the pickle refers to, by key.
    """

    def __init__(self, file: io.BufferedIOBase):
        # Python 2 wrote many files of 2018.
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.cuda") and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        package = module.split(".")[0]
        is_data = package in _DATA_MODULES or (module == "builtins" and name in _DATA_BUILTINS)
        if package in sys.stdlib_module_names and not is_data:
            raise _RefusedError(f"{module}.{name}")
        return type(name, (_StandIn,), {"__module__": module})

    def persistent_load(self, identifier: Any) -> Any:
        if identifier[0] == "module":  # A class with its source code, for warnings only.
            return identifier[1]
        _, dtype, key = identifier[:3]
        storage = _Storage(str(key), dtype if isinstance(dtype, np.dtype) else None)
        return self.storages.setdefault(storage.key, storage)


def _read_legacy(file: BinaryIO, landmark: str) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    """The old container: four pickles, the storages' keys, and their memory in this order."""
    magic, _, system = (_Unpickler(file).load() for _ in range(3))
    if magic != _LEGACY_MAGIC or not system["little_endian"]:
        raise ValueError("it does not start as a PyTorch file of a little-endian machine")
    unpickler = _Unpickler(file)
    tensors = _network_tensors(unpickler.load(), landmark)
    needed = {tensor.storage.key for tensor in tensors.values()}
    storages = {}
    for key in map(str, _Unpickler(file).load()):
        (count,) = struct.unpack("<q", file.read(8))
        dtype = unpickler.storages[key].dtype
        if dtype is None:
            raise ValueError("a storage has an unknown type of numbers")
        content = file.read(count * dtype.itemsize)
        if key in needed:
            storages[key] = content
    return tensors, storages


def _read_zip(file: BinaryIO, landmark: str) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    """A zip archive with `data.pkl`, and the memory of storage K in `data/K`."""
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip archive without its data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        with archive.open(pickles[0]) as pickled:
            tensors = _network_tensors(_Unpickler(pickled).load(), landmark)
        keys = {tensor.storage.key for tensor in tensors.values()}
        return tensors, {key: archive.read(f"{folder}data/{key}") for key in keys}


def _network_tensors(root: Any, landmark: str) -> dict[str, _Tensor]:
    """The tensors in the place of the landmark, by their names relative to it."""
    tensors = dict(_named_tensors(root, set()))
    places = [name.removesuffix(landmark) for name in tensors if name.endswith("." + landmark)]
    if not places:
        return {}
    place = min(places, key=lambda place: "ema" in place.lower())  # The first without averages.
    inside = (name for name in tensors if name.startswith(place))
    return {name.removeprefix(place): tensors[name] for name in inside}


def _named_tensors(tree: Any, visited: set[int], prefix: str = "") -> Iterator[tuple[str, _Tensor]]:
    """All tensors in containers, modules and other objects; names begin with a dot."""
    if isinstance(tree, _Tensor):
        yield prefix, tree
        return
    if id(tree) in visited:  # Objects may contain each other.
        return
    visited.add(id(tree))
    items = enumerate(tree) if isinstance(tree, list | tuple) else ()
    if isinstance(tree, Mapping):
        state = getattr(tree, "state", None)
        items = [*tree.items(), *(state.items() if isinstance(state, Mapping) else ())]
    for key, value in items:
        if isinstance(key, str | int):
            inner = prefix if key in _GROUPS else f"{prefix}.{key}"
            yield from _named_tensors(value, visited, inner)


def _to_array(tensor: _Tensor, storages: Mapping[str, bytes]) -> np.ndarray:
    """Copies a tensor out of its storage, after checking that it lies inside.

    bfloat16 becomes float32.
    """
    if tensor.storage.dtype is None:
        raise ValueError("a tensor has an unknown type of numbers")
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
    array = np.lib.stride_tricks.as_strided(flat[tensor.offset :], shape, strides)
    if array.dtype == _BFLOAT16:  # The upper half of a float32's bits.
        return (array.copy().view("<u2").astype(np.uint32) << 16).view(np.float32)
    return array.copy()
