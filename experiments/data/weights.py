"""Files of pretrained weights, read without the frameworks that wrote them: HDF5 (Keras), safetensors, torch.

A file is recognized by its first bytes. Opening it lists its arrays; only requested arrays are read, and no code in a
file is ever executed.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np

from experiments.runner import extras
from experiments.runner.store import InputError

__all__ = ["HDF5", "SAFETENSORS", "TORCH_LEGACY", "TORCH_ZIP", "WeightFile", "open_weights"]

HDF5, SAFETENSORS = "HDF5", "safetensors"
TORCH_ZIP, TORCH_LEGACY = "torch's zip archive", "torch's format before 1.6"

# Torch's magic number 0x1950a86a20f9469cfc6c as protocol 2 pickles it, and the version that follows it.
TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
TORCH_PROTOCOL = 1001
MAX_DEPTH = 8
# Torch's storages, and the type of their numbers.
STORAGES = {
    **{"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": jnp.bfloat16},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1"},
    **{"ByteStorage": "<u1", "BoolStorage": "<u1"},
}
# What reading a damaged or malicious file can raise.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
    struct.error,
    zipfile.BadZipFile,
)


class WeightFile(NamedTuple):
    """An open file: its format, the shapes of its arrays by name, and ``read(name)``, an array in float32.

    ``labels`` are the names that Keras stores for the groups of an HDF5 file, and ``backend`` is the backend that it
    stores, if any. Arrays of nested dictionaries are named by their dotted path. ``read`` raises InputError.
    """

    format: str
    shapes: Mapping[str, tuple[int, ...]]
    labels: Mapping[str, str]
    read: Callable[[str], np.ndarray]
    backend: str = ""


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a file of weights; the context closes it.

    Raises:
        InputError: The file does not exist, has none of the formats, is damaged, or contains something not allowed.
    """
    with ExitStack() as opened:
        with _named(path, "a file"):
            file = opened.enter_context(path.open("rb"))
            form = _recognized(file)
        if form is None:
            problem = "is not a file of weights: neither HDF5, nor safetensors, nor written by torch.save"
            raise InputError([f"{path}: {problem}"])
        with _named(path, form):
            found = opened.enter_context(_OPENERS[form](file))

        def read(name: str) -> np.ndarray:
            with _named(path, f"{form}, {name}"):
                return _weights(found.read(name))

        yield found._replace(format=form, read=read)


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise InputError([f"{path}: cannot be read as {what} ({str(error) or type(error).__name__})"]) from error


def _recognized(file: BinaryIO) -> str | None:
    head = file.read(len(TORCH_MAGIC))
    file.seek(0)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return HDF5
    if head.startswith(b"PK\x03\x04"):
        return TORCH_ZIP
    if head == TORCH_MAGIC:
        return TORCH_LEGACY
    return SAFETENSORS if head[8:9] == b"{" else None


# HDF5 -----------------------------------------------------------------------------------------------------


@contextmanager
def _hdf5(file: BinaryIO) -> Iterator[WeightFile]:
    import h5py  # takes a third of a second, which a run without such weights can save

    with h5py.File(file.name, "r") as opened:
        shapes, labels, backends = {}, {}, [opened.attrs.get("backend")]

        # visititems follows no links, neither out of the file nor in cycles.
        def visit(name: str | bytes, item: Any) -> None:
            if isinstance(name, bytes):  # h5py returns names as bytes that it cannot decode
                _damaged(f"it has a name that is not text: {name!r:.80}")
            if isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    _damaged(f"{name} is stored in another file")
                shapes[name] = tuple(item.shape or ())
                return
            if name == "model_weights":
                backends.append(item.attrs.get("backend"))
            if isinstance(label := item.attrs.get("name"), str):
                labels[name] = label

        opened.visititems(visit)
        stored = next((word for word in backends if word is not None), "")
        backend = stored.decode() if isinstance(stored, bytes) else str(stored)
        yield WeightFile(HDF5, shapes, labels, lambda name: opened[name][()], backend)  # pyright: ignore


# Safetensors ----------------------------------------------------------------------------------------------


@contextmanager
def _safetensors(file: BinaryIO) -> Iterator[WeightFile]:
    """The library checks the header, and that the arrays follow it without overlaps and gaps to the end of the file."""
    if problems := extras.problems(f"{file.name}: reading safetensors", "data", ["safetensors"]):
        raise InputError(problems)
    from safetensors import SafetensorError, safe_open

    try:
        opened = safe_open(file.name, framework="numpy")
    except SafetensorError as error:
        _damaged(f"{error}; the file has {file.seek(0, io.SEEK_END):,} bytes")
    with opened:
        slices = {name: opened.get_slice(name) for name in sorted(opened.keys())}

        def read(name: str) -> np.ndarray:
            try:
                return opened.get_tensor(name)
            except (SafetensorError, AttributeError) as error:  # numpy lacks a type, except bfloat16, which JAX adds
                _damaged(f"its numbers are {slices[name].get_dtype()}, which cannot be read: {error}")

        yield WeightFile(SAFETENSORS, {name: tuple(part.get_shape()) for name, part in slices.items()}, {}, read)


# Torch ----------------------------------------------------------------------------------------------------


class _Storage(NamedTuple):
    """A storage that a pickle names: the key of its numbers, its class in torch and their count."""

    key: str
    kind: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage, not yet read; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _TensorsOnly(pickle.Unpickler):
    """Unpickles dictionaries of tensors, as descriptions, and executes no code."""

    def __init__(self, file: Any):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A new placeholder for each of the few names that a dictionary of tensors needs."""
        # Placeholders are never shared: a pickle can set attributes of the objects that it gets.
        if module == "torch" and name in STORAGES:
            return _Name(name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        # torchvision's file of 2017 uses the first name, which gives only a tensor's place in its storage.
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _tensor(storage, offset, shape, strides)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        msg = f"it asks for {module}.{name}, which is not allowed in a file of weights"
        raise pickle.UnpicklingError(msg)

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that ("storage", class, key, device, size, ...) describes."""
        word, kind, key, _, size, *view = pid
        if word != "storage" or not isinstance(kind, _Name) or any(part is not None for part in view):
            _damaged(f"it refers to {pid!r:.80}, which is not a whole storage")
        return self.storages.setdefault(str(key), _Storage(str(key), str(kind), int(size)))


class _Name(str):
    """The class of a storage; a type of its own distinguishes it from other strings of a pickle."""

    __slots__ = ()


def _tensor(storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int]) -> _Tensor:
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        _damaged("a tensor in it has no storage, or its numbers of strides and dimensions differ")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


@contextmanager
def _torch_zip(file: BinaryIO) -> Iterator[WeightFile]:
    """An uncompressed zip archive: NAME/data.pkl, and the storages NAME/data/0, NAME/data/1, ..."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if "model.weights.h5" in names:
            _damaged("it is a .keras archive: unzip model.weights.h5 from it and name that file instead")
        if len(pickles) != 1:
            _damaged("it is a zip archive without torch's data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            _damaged("parts of it are compressed, but torch never compresses")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            _damaged("its numbers are big-endian")
        tensors = _tensors(_TensorsOnly(io.BytesIO(archive.read(pickles[0]))).load())
        yield _torch_file(tensors, lambda storage: archive.read(f"{folder}data/{storage.key}"))


@contextmanager
def _torch_legacy(file: BinaryIO) -> Iterator[WeightFile]:
    """Pickles in this order: the magic number, a version, the machine, the tensors, the keys; then the storages."""
    _, version, machine = (_TensorsOnly(file).load() for _ in range(3))
    if version != TORCH_PROTOCOL or not machine["little_endian"]:
        _damaged(f"its version is {version!r:.40}, or its numbers are big-endian")
    unpickler = _TensorsOnly(file)
    tensors, keys = _tensors(unpickler.load()), _TensorsOnly(file).load()
    places, end = {}, file.tell()
    for key in map(str, keys):
        storage = unpickler.storages[key]
        file.seek(end)
        if struct.unpack("<q", _exactly(file, 8)) != (storage.size,):
            _damaged(f"storage {key:.40} does not have the {storage.size} numbers that its tensors need")
        places[key], end = end + 8, end + 8 + storage.size * _itemsize(storage)
    if end > file.seek(0, io.SEEK_END):
        _damaged(f"it ends {end - file.tell()} bytes too early")

    def raw(storage: _Storage) -> bytes:
        file.seek(places[storage.key])
        return _exactly(file, storage.size * _itemsize(storage))

    yield _torch_file(tensors, raw)


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    if not isinstance(loaded, dict):
        _damaged(f"it holds {type(loaded).__name__}, not a dictionary of tensors")
    tensors = {}
    for name, tensor in _flat(loaded, "", MAX_DEPTH):
        if name in tensors:
            _damaged(f"two of its tensors are called {name:.80}")
        tensors[name] = tensor
    return tensors


def _flat(loaded: Mapping, path: str, depth: int) -> Iterator[tuple[str, _Tensor]]:
    """All tensors with their paths. A checkpoint nests them, next to an epoch and an optimizer."""
    if depth == 0:
        _damaged(f"its dictionaries are nested more than {MAX_DEPTH} deep")
    for name, item in loaded.items():
        if isinstance(item, _Tensor):
            yield f"{path}{name}", item
        elif isinstance(item, dict):
            yield from _flat(item, f"{path}{name}.", depth - 1)


def _torch_file(tensors: Mapping[str, _Tensor], raw: Callable[[_Storage], bytes]) -> WeightFile:
    def read(name: str) -> np.ndarray:
        tensor = tensors[name]
        return _strided(np.frombuffer(raw(tensor.storage), STORAGES[tensor.storage.kind]), tensor)

    return WeightFile("", {name: tensor.shape for name, tensor in tensors.items()}, {}, read)


def _strided(flat: np.ndarray, tensor: _Tensor) -> np.ndarray:
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    # as_strided does not check that the strides stay within the array.
    if min(tensor.offset, *tensor.strides) < 0 or min(tensor.shape) < 1 or last >= flat.size:
        _damaged(f"it extends to element {last} of a storage of {flat.size}")
    strides = [stride * flat.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def _itemsize(storage: _Storage) -> int:
    return np.dtype(STORAGES[storage.kind]).itemsize


# Common ---------------------------------------------------------------------------------------------------


def _weights(found: Any) -> np.ndarray:
    """An array in float32. Integers are refused: they are the codes of a quantized network."""
    found = np.asarray(found)
    if not jnp.issubdtype(found.dtype, jnp.floating):
        _damaged(f"its numbers are {found.dtype}, but weights must be floats")
    if not np.all(np.isfinite(weights := np.ascontiguousarray(found, np.float32))):
        _damaged("some of its numbers are not finite in float32")
    return weights


def _exactly(file: BinaryIO, count: int) -> bytes:
    raw = file.read(count)
    if len(raw) != count:
        _damaged(f"it ends {count - len(raw)} bytes too early")
    return raw


def _damaged(problem: str) -> NoReturn:
    raise ValueError(problem)


_OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    HDF5: _hdf5,
    SAFETENSORS: _safetensors,
    TORCH_ZIP: _torch_zip,
    TORCH_LEGACY: _torch_legacy,
}
