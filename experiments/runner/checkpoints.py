"""Checkpoints of a sweep: the carry through Orbax, the observations as pieces, a manifest for both.

Orbax survives a kill, but silently restores flipped bits and other dtypes. So a checkpoint exists only once its
manifest does, and is used only if every SHA-256, dtype and shape in it matches.
"""

import io
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runner.files import as_json, digest, read_digested, with_digest, write_atomic, write_json
from experiments.runner.setbacks import disk_full, is_full

__all__ = ["Checkpoints", "Restored"]

KEPT = 3
PLAIN = re.compile(r"[\w./+=-]+", re.ASCII)
PIECE_NAME = re.compile(r"\w[\w.=+-]*")


class Restored(NamedTuple):
    """The state from which a run resumes."""

    position: dict[str, Any]
    carry: Any  # a pytree of arrays, or None between two chunks
    pieces: tuple[str, ...]  # the names of all pieces of observations written before


class _Unusable(Exception):
    """A checkpoint that must not be used; the message names the bad file."""


class Checkpoints:
    """The folder ``checkpoint/`` of a run folder that this process holds.

    ``plan.json``; ``<n>.json``, the manifest of checkpoint n; ``carry/<n>/``; ``pieces/<name>.npz``.
    """

    def __init__(self, run: Path):
        self.folder = run / "checkpoint"
        self._pieces: dict[str, dict[str, Any]] = {}
        self._bad: set[int] = set()

    @property
    def pieces(self) -> tuple[str, ...]:
        """The names of all pieces that the newest checkpoint holds."""
        return tuple(self._pieces)

    @property
    def num_bytes(self) -> int:
        """The size of all pieces that the newest checkpoint holds."""
        return sum(self._piece_file(name).stat().st_size for name in self._pieces)

    @property
    def exist(self) -> bool:
        """Whether a checkpoint was written, usable or not."""
        return bool(self._numbers(self.folder.glob("*.json")))

    def store_plan(self, plan: Mapping[str, Any]) -> None:
        """Store the division of the sweep, before the first checkpoint; checkpoints of another plan are not used."""
        self.folder.mkdir(exist_ok=True)
        write_json(self.folder / "plan.json", with_digest({"plan": plan}))

    def stored_plan(self) -> dict[str, Any] | None:
        """Return the stored plan; None if there is none, or, with a warning, if it is damaged."""
        file = self.folder / "plan.json"
        try:
            return read_digested(file)["plan"] if file.exists() else None
        except (OSError, ValueError) as error:
            warnings.warn(f"{file}: {error}; the run is planned again", stacklevel=2)
            return None

    def save(self, position: Mapping[str, Any], carry: Any, pieces: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Save position, carry (or None) and the pieces finished since the last checkpoint.

        The newest 3 checkpoints and all pieces are kept. Without a restore, or after one that returned None, there are
        no earlier pieces.

        Raises:
            Setback: There is no room for it; the earlier checkpoints are as they were.
        """
        (self.folder / "pieces").mkdir(parents=True, exist_ok=True)
        for name, arrays in pieces.items():
            self._pieces[name] = self._write_piece(name, arrays)
        self._write_manifest(position, carry, self._plan_digest())
        self._prune()

    def adopt(self, plan: Mapping[str, Any], position: Mapping[str, Any], pieces: Iterable[str]) -> None:
        """Go on under another plan: its first checkpoint, without a carry, holds these of the present pieces.

        A process that dies meanwhile leaves the old plan with its checkpoints.
        """
        self._pieces = {name: self._pieces[name] for name in pieces}
        self._write_manifest(position, None, digest(as_json(with_digest({"plan": plan}))))
        self.store_plan(plan)

    def _write_manifest(self, position: Mapping[str, Any], carry: Any, plan: str | None) -> None:
        number = 1 + max(self._numbers(self.folder.glob("*.json")), default=0)
        place = self.folder / "carry" / str(number)
        try:
            leaves = _save_carry(place, carry)
        except Exception as error:  # of Orbax or the libraries below it
            if not is_full(error):
                raise
            self._prune()  # half a carry takes the room that the rest of the run needs
            raise disk_full(place, sum(leaf.nbytes for leaf in jax.tree.leaves(carry))) from error
        manifest = {
            "position": position,
            "plan": plan,
            "leaves": leaves,
            "files": _digests(place),
            "pieces": self._pieces,
        }
        write_json(self._manifest(number), with_digest(manifest))

    def restore(self, abstract_of: Callable[[dict[str, Any]], Any], *, with_carry: bool = True) -> Restored | None:
        """Return the newest checkpoint that verifies and fits ``abstract_of(position)``, or None.

        ``abstract_of`` returns a pytree of ``jax.ShapeDtypeStruct`` (or None, for no carry). Each skipped checkpoint
        gives a warning that names its bad file.
        """
        for number in reversed(self._numbers(self.folder.glob("*.json"))):
            try:
                manifest = self._verified(number)
                carry = self._load_carry(number, manifest, abstract_of(manifest["position"])) if with_carry else None
            except _Unusable as fault:
                warnings.warn(f"checkpoint {number} is not used: {fault}", stacklevel=2)
                self._bad.add(number)
            else:
                self._pieces = manifest["pieces"]
                return Restored(manifest["position"], carry, tuple(self._pieces))
        self._pieces = {}
        return None

    def read_piece(self, name: str) -> dict[str, np.ndarray]:
        """Load one piece of the current state; OSError if its bytes have changed since they were written."""
        record = self._pieces[name]
        data = self._piece_file(name).read_bytes()
        if digest(data) != record["sha256"]:
            msg = f"{self._piece_file(name)}: the content does not match its SHA-256"
            raise OSError(msg)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            # NumPy stores unknown dtypes, such as bfloat16, as raw bytes.
            return {key: arrays[key].view(jnp.dtype(dtype)) for key, dtype in record["dtypes"].items()}

    def clear(self) -> None:
        """Remove all checkpoints and the plan, at the end of a complete run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._pieces = {}

    def _write_piece(self, name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        if not PIECE_NAME.fullmatch(name):
            msg = f"a piece's name must be a file name of letters, digits and _.=+-, got {name!r}"
            raise ValueError(msg)
        plain = {key: np.asarray(array) for key, array in arrays.items()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **plain)
        data = buffer.getvalue()
        write_atomic(self._piece_file(name), data)
        return {"sha256": digest(data), "dtypes": {key: str(array.dtype) for key, array in plain.items()}}

    def _verified(self, number: int) -> dict[str, Any]:
        try:
            manifest = read_digested(self._manifest(number))
        except (OSError, ValueError) as error:
            msg = f"{self._manifest(number)}: {error}"
            raise _Unusable(msg) from error
        if manifest["plan"] != self._plan_digest():
            msg = f"{self.folder / 'plan.json'}: is not the plan of this checkpoint"
            raise _Unusable(msg)
        carry = self.folder / "carry" / str(number)
        _compare(carry, manifest["files"], _digests(carry))
        wanted = {f"{name}.npz": record["sha256"] for name, record in manifest["pieces"].items()}
        files = [file for name in wanted if (file := self.folder / "pieces" / name).exists()]
        _compare(self.folder / "pieces", wanted, {file.name: digest(file.read_bytes()) for file in files})
        return manifest

    def _load_carry(self, number: int, manifest: dict[str, Any], abstract: Any) -> Any:
        held = manifest["leaves"] and [leaf[:3] for leaf in manifest["leaves"]]
        wanted = None if abstract is None else [leaf[:3] for leaf in _describe(abstract)]
        if held != wanted:
            msg = f"{self._manifest(number)}: {_first_difference(held, wanted)}"
            raise _Unusable(msg)
        if abstract is None:
            return None
        return _load(self.folder / "carry" / str(number), abstract, manifest["leaves"])

    def _prune(self) -> None:
        """Remove all but the newest checkpoints not known to be bad, and every carry without a manifest."""
        numbers = self._numbers(self.folder.glob("*.json"))
        kept = {str(number) for number in [n for n in numbers if n not in self._bad][-KEPT:]}
        for number in numbers:
            if str(number) not in kept:
                self._manifest(number).unlink()
        for carry in (self.folder / "carry").glob("*"):
            if carry.name not in kept:
                shutil.rmtree(carry)

    @staticmethod
    def _numbers(files: Any) -> list[int]:
        return sorted(int(file.stem) for file in files if file.stem.isdecimal())

    def _plan_digest(self) -> str | None:
        file = self.folder / "plan.json"
        return digest(file.read_bytes()) if file.exists() else None

    def _manifest(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _piece_file(self, name: str) -> Path:
        return self.folder / "pieces" / f"{name}.npz"


def _compare(folder: Path, wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            fault = "is missing" if name not in found else "does not match its SHA-256"
            msg = f"{folder / name} {fault}"
            raise _Unusable(msg)


def _digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): digest(file.read_bytes()) for file in files}


# The carry ------------------------------------------------------------------------------------------------


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(tree: Any) -> list[list[Any]]:
    """List path, dtype and shape of every leaf, in types that JSON has."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [[jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)] for path, leaf in leaves]


def _first_difference(held: list[Any] | None, wanted: list[Any] | None) -> str:
    if held is None or wanted is None:
        old, new = ("no carry" if leaves is None else "a carry" for leaves in (held, wanted))
        return f"holds {old}, this run wants {new}"
    old, new = ({path: f"{dtype} {tuple(shape)}" for path, dtype, shape in leaves} for leaves in (held, wanted))
    # If no leaf differs, the order does: name the first leaf.
    path = next((p for p in [*old, *new] if old.get(p) != new.get(p)), next(iter(new), ""))
    return f"carry{path} holds {old.get(path, 'nothing')}, this run wants {new.get(path, 'nothing')}"


def _checkpointer() -> Any:
    # Imported late: Orbax is slow to import, and many runs end before their first checkpoint.
    import orbax.checkpoint as ocp

    options = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
        # This process alone saves and restores; by default Orbax waits until all do.
        own = jax.process_index()
        options = ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
        )
    # The synchronous one: the manifest must come after the last byte of the carry.
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


@contextmanager
def _plainly_named(folder: Path) -> Iterator[Path]:
    """Yield a path of plain characters to the folder, through a link to its parent.

    Orbax globs and parses the whole path: below "a[1]", "**", "gs:" or a backslash it does not find its own files.
    """
    place = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=place if PLAIN.fullmatch(place) else "/tmp") as links:
        link = Path(links) / "carry"
        link.symlink_to(folder.parent.absolute(), target_is_directory=True)
        yield link / folder.name


def _save_carry(folder: Path, carry: Any) -> list[list[Any]] | None:
    """Save the leaves from host memory; return path, dtype, shape and PRNG implementation of each."""
    if carry is None:
        return None
    import orbax.checkpoint as ocp

    leaves = jax.tree.leaves(carry)
    data = [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in leaves]
    # Orbax refuses arrays without elements; their dtype and shape describe them completely.
    named = {str(index): array for index, array in enumerate(data) if array.size}
    if named:
        folder.parent.mkdir(exist_ok=True)
        with _checkpointer() as checkpointer, _plainly_named(folder) as plain:
            # A killed run may have left this number without a manifest: force.
            checkpointer.save(plain, args=ocp.args.PyTreeSave(named), force=True)
    impls = [str(jax.random.key_impl(leaf)) if _is_key(leaf) else None for leaf in leaves]
    return [[*leaf, impl] for leaf, impl in zip(_describe(carry), impls, strict=True)]


def _load(folder: Path, abstract: Any, leaves: list[list[Any]]) -> Any:
    import orbax.checkpoint as ocp

    wanted, structure = jax.tree.flatten(abstract)
    data = [jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf for leaf in wanted]
    named = {str(index): leaf for index, leaf in enumerate(data) if leaf.size}
    host = ocp.args.PyTreeRestore(
        item=named, restore_args={index: ocp.RestoreArgs(restore_type=np.ndarray) for index in named}
    )
    restored: dict[str, np.ndarray] = {}
    if named:
        with _checkpointer() as checkpointer, _plainly_named(folder) as plain:
            restored = checkpointer.restore(plain, args=host)
    arrays = [restored[str(i)] if leaf.size else np.zeros(leaf.shape, leaf.dtype) for i, leaf in enumerate(data)]
    keyed = [
        jax.random.wrap_key_data(jnp.asarray(array), impl=impl) if impl else array
        for array, (*_, impl) in zip(arrays, leaves, strict=True)
    ]
    placed = [jax.device_put(array, leaf.sharding) for array, leaf in zip(keyed, wanted, strict=True)]
    return jax.tree.unflatten(structure, placed)
