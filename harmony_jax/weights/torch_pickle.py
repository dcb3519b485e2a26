"""The pickle inside PyTorch's files, read and written without PyTorch; nothing is executed.

Python's own implementation of `pickle.Unpickler` reads it, but only with the instructions that a
state dict needs, and only the names in `_NAMES`: they stand for functions of this module and for
number types. `Tensor` and `Storage` describe what PyTorch's functions would make.

The faster implementation in C would not be safe: a memo index of four bytes makes it allocate
gigabytes, BUILD sets attributes of whatever `find_class` returned, and hashing nested tuples
overflows its stack.
"""

import io
import math
import pickle
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np

from harmony_jax.errors import InputError

# Enough for a state dict of 20,000 arrays. The objects take up to 90 times a pickle's length.
MAX_BYTES = 4 << 20

_MAX_DIMENSIONS = 32
_SIZES = range(1 << 62)

_INSTRUCTIONS = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.BINPERSID),
    *(pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BINFLOAT),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1),
    *(pickle.BINUNICODE, pickle.SHORT_BINSTRING, pickle.BINSTRING),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT),
)

_short = reprlib.Repr()
_short.maxstring = 80


class Storage(NamedTuple):
    """Numbers that lie in a file in one piece, `size` of them, under a key."""

    key: str
    dtype: np.dtype
    size: int

    @property
    def num_bytes(self) -> int:
        return self.size * self.dtype.itemsize


class Tensor(NamedTuple):
    """A view into a storage; offset and strides count elements of `dtype`."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Of a copy in one piece."""
        return math.prod(self.shape) * self.dtype.itemsize


class Named(NamedTuple):
    """A class or function that is known but not read, or what calling it would give."""

    name: str

    @property
    def is_tensor(self) -> bool:
        return self.name.startswith(_REBUILD)


class _View(NamedTuple):
    storage: Storage
    offset: int


def quoted(value: Any) -> str:
    """A name for a message: in quotes, on one line, of bounded length."""
    return _short.repr(value)


def kind(value: Any) -> str:
    """What an unpickled value would be in PyTorch, for a message."""
    if isinstance(value, Named):
        return value.name
    return "Storage" if isinstance(value, _View) else type(value).__name__


def unpickle(path: Path, file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle, and leaves the file at its end.

    Args:
        path: for messages.
        file: of at most `MAX_BYTES`.

    Returns:
        The pickled value, of dicts (keys are texts or numbers), lists, tuples, texts, numbers,
        None, `Tensor` and `Named`; and all storages by key.

    Raises:
        InputError: it asks for something that no state dict of plain tensors needs.
        Exception: of any kind, if it is damaged.
    """
    unpickler = _Unpickler(path, file)
    return unpickler.load(), unpickler.storages


class _Unpickler(pickle._Unpickler):
    """The implementation in Python, whose memo is a dict."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    # Of the base class.
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, path: Path, file: io.BytesIO):
        super().__init__(file, encoding="utf-8")  # for texts that Python 2 wrote
        self.path = path
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _NAMES:
            raise InputError(
                f"{self.path}: refused: names {quoted(full)}, which no state_dict of plain tensors "
                "needs, nothing was executed: save model.state_dict() with torch.save"
            )
        return _NAMES[full]

    def persistent_load(self, pid: Any) -> _View:
        """A storage: ("storage", type, key, device, size), before 1.6 also a view or None."""
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise pickle.UnpicklingError("a persistent id that is not a storage")
        dtype, key, _, size = pid[1:5]
        if not isinstance(dtype, np.dtype) or type(key) is not str:
            raise pickle.UnpicklingError("a storage without a type or a key")
        storage = Storage(key, dtype, _size(size))
        known = self.storages.setdefault(key, storage)
        if known != storage:
            raise pickle.UnpicklingError(f"storage {quoted(key)} is of two kinds")
        view = pid[5] if len(pid) == 6 else None
        return _View(known, 0 if view is None else _size(view[1]))

    def refuse(self) -> NoReturn:
        raise InputError(
            f"{self.path}: refused: a pickle with instructions that weights do not need, none was "
            "executed: save model.state_dict() with torch.save and its own pickle_protocol"
        )

    def load_reduce(self) -> None:
        """Calls a function of this module; what others would give stays a name."""
        arguments, function = self.stack.pop(), self.stack[-1]
        if type(function) is not Named:
            self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        """Ignores attributes, such as a state_dict's `_metadata`."""
        del self.stack[-1]

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _put(self.stack[-1], items)


_OWN = {
    pickle.REDUCE: _Unpickler.load_reduce,
    pickle.BUILD: _Unpickler.load_build,
    pickle.SETITEM: _Unpickler.load_setitem,
    pickle.SETITEMS: _Unpickler.load_setitems,
}
for _code in _Unpickler.dispatch:
    if bytes([_code]) not in _INSTRUCTIONS:
        _Unpickler.dispatch[_code] = _OWN.get(bytes([_code]), _Unpickler.refuse)


def _put(target: Any, items: list[Any]) -> None:
    """Sets a dict's items from alternating keys and values, which are texts or numbers.

    Hashing deeply nested tuples would overflow the stack.
    """
    if type(target) is not dict:
        raise pickle.UnpicklingError("items of something other than a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, int, float, bool):
            raise pickle.UnpicklingError(f"a dict whose key is a {kind(key)}")
        target[key] = value


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """An empty one, or one of [key, value] pairs, as Python 2 wrote it.

    The pairs are moved into it: otherwise many calls with one list would fill any memory.
    """
    made: dict[Any, Any] = {}
    for pair in pairs:
        key, value = pair
        _put(made, [key, value])
    if pairs:
        pairs.clear()
    return made


def _tensor(
    view: Any, offset: Any, shape: Any, strides: Any, _grad: Any = 0, _hooks: Any = 0, *rest: Any
) -> Tensor | Named:
    """Makes a tensor; `rest` has its dtype, if that differs from the storage's, and its flags."""
    if len(rest) > 2:
        raise pickle.UnpicklingError("a tensor of too many parts")
    if type(view) is not _View:
        raise pickle.UnpicklingError("a tensor without a storage")
    has_dtype = bool(rest) and isinstance(rest[0], np.dtype)
    dtype, *flags = rest if has_dtype else (view.storage.dtype, *rest)
    if any(flags):  # conjugated, or of the opposite sign
        return Named(f"{_REBUILD}tensor")
    shape, strides = _sizes(shape), _sizes(strides)
    if len(shape) != len(strides):
        raise pickle.UnpicklingError("a tensor whose shape and strides differ in length")
    return Tensor(view.storage, dtype, view.offset + _size(offset), shape, strides)


def _with_attributes(function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    return function if type(function) is Named else function(*arguments)


def _parameter(tensor: Any, _grad: Any, _hooks: Any, _state: Any = None) -> Any:
    return tensor


def _sizes(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple or len(values) > _MAX_DIMENSIONS:
        raise pickle.UnpicklingError("a tensor without a shape")
    for value in values:
        _size(value)
    return values


def _size(value: Any) -> int:
    if type(value) is not int or value not in _SIZES:
        raise pickle.UnpicklingError("an invalid size")
    return value


_DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
    "ComplexFloatStorage": np.dtype(np.complex64),
    "ComplexDoubleStorage": np.dtype(np.complex128),
}
# Number types without a storage type: their tensors name the type itself.
_OTHER_DTYPES = (
    *(np.uint16, np.uint32, np.uint64, jnp.float8_e4m3fn, jnp.float8_e4m3fnuz),
    *(jnp.float8_e5m2, jnp.float8_e5m2fnuz),
)
_ORDERED_DICT = "collections.OrderedDict"
_REBUILD = "torch._utils._rebuild_"
# Beside weights in a training's file, and tensors that are no plain arrays: known, but not read.
_OTHERS = (
    "collections.Counter",
    "_codecs.encode",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("complex", "set")),
    "torch.Tensor",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
    f"{_REBUILD}meta_tensor_no_storage",
    f"{_REBUILD}sparse_tensor",
)
_NAMES: dict[str, Any] = {
    **{f"torch.{name}": dtype for name, dtype in _DTYPES.items()},
    **{f"torch.cuda.{name}": dtype for name, dtype in _DTYPES.items()},
    "torch.storage.UntypedStorage": np.dtype(np.uint8),  # counted in bytes
    "torch.storage._UntypedStorage": np.dtype(np.uint8),
    **{f"torch.{d.name}": d for d in (*_DTYPES.values(), *map(np.dtype, _OTHER_DTYPES))},
    **{name: Named(name) for name in _OTHERS},
    _ORDERED_DICT: _ordered_dict,
    f"{_REBUILD}tensor": _tensor,
    f"{_REBUILD}tensor_v2": _tensor,
    f"{_REBUILD}tensor_v3": _tensor,
    f"{_REBUILD}parameter": _parameter,
    f"{_REBUILD}parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _with_attributes,
    "torch.Size": _sizes,
}


def pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of an OrderedDict of tensors as `torch.save` makes it.

    Args:
        arrays: in C order. The key of each storage is the array's position.
    """
    ordered_dict = _global(_ORDERED_DICT) + pickle.EMPTY_TUPLE + pickle.REDUCE
    parts = [pickle.PROTO, b"\x02", ordered_dict, pickle.MARK]
    for number, (key, array) in enumerate(arrays.items()):
        parts += [
            _plain(key),
            *(_global(f"{_REBUILD}tensor_v2"), pickle.MARK),
            *(pickle.MARK, _plain("storage"), _global(_storage_name(key, array.dtype))),
            *(_plain(str(number)), _plain("cpu"), _plain(array.size)),
            *(pickle.TUPLE, pickle.BINPERSID),
            *(_plain(0), _plain(array.shape), _plain(_strides(array.shape))),
            *(pickle.NEWFALSE, ordered_dict, pickle.TUPLE, pickle.REDUCE),
        ]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])


def _plain(value: str | int | tuple[int, ...]) -> bytes:
    """The instructions that make a value."""
    return pickle.dumps(value, 2).removeprefix(pickle.PROTO + b"\x02").removesuffix(pickle.STOP)


def _global(name: str) -> bytes:
    module, _, name = name.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _storage_name(key: str, dtype: np.dtype) -> str:
    for name, known in _DTYPES.items():
        if known == dtype:
            return f"torch.{name}"
    raise InputError(f"{key} is {dtype}, which PyTorch has no storage for: make it float32")


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a tensor in C order, in elements, counted as PyTorch does for empty ones too."""
    return tuple(math.prod(max(length, 1) for length in shape[i + 1 :]) for i in range(len(shape)))
