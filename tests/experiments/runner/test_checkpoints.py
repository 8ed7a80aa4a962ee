import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from experiments.runner.checkpoints import Checkpoints


class Carry(NamedTuple):
    weights: tuple
    step: jax.Array
    key: jax.Array
    nothing: jax.Array


def carry_at(step):
    draw = np.random.default_rng(step)
    dtypes = (jnp.bfloat16, jnp.float32, jnp.float64, jnp.int8)
    weights = tuple(jnp.asarray(100 * draw.standard_normal((2, 3))).astype(dtype) for dtype in dtypes)
    weights = (*weights, jnp.asarray([np.nan, -0.0, np.inf]), jnp.asarray([True, False]))
    return Carry(weights, jnp.asarray(step, jnp.int32), jax.random.split(jax.random.key(step), 2), jnp.zeros((0, 2)))


def abstract_at(position):
    return jax.eval_shape(lambda: carry_at(0)) if position["segment"] >= 0 else None


def piece_at(step):
    return {
        "loss": np.full((2, 3), step + 0.1),
        "gap": np.full(2, step, ml_dtypes.bfloat16),
        "n": np.array(step),
    }


def bits(tree):
    leaves = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(tree)
    ]
    return [(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in leaves]


def saved(folder, steps):
    checkpoints = Checkpoints(folder)
    checkpoints.store_plan({"strategy": "map", "chunks": [4, 2]})
    for step in steps:
        checkpoints.save({"segment": step}, carry_at(step), {f"s{step}": piece_at(step)})
    return checkpoints


def manifests(folder):
    return sorted(path.name for path in (folder / "checkpoint").glob("[0-9]*.json"))


def flip(file, index=None):
    data = bytearray(file.read_bytes())
    data[len(data) // 2 if index is None else index] ^= 1
    file.write_bytes(bytes(data))


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    folder = tmp_path_factory.mktemp("master")
    saved(folder, range(5))
    return folder


@pytest.fixture
def folder(master, tmp_path):
    shutil.copytree(master, tmp_path / "run")
    return tmp_path / "run"


def test_the_newest_checkpoint_comes_back_bit_for_bit(folder):
    checkpoints = Checkpoints(folder)
    restored = checkpoints.restore(abstract_at)
    assert restored.position == {"segment": 4}
    assert jax.tree.structure(restored.carry) == jax.tree.structure(carry_at(4))
    assert bits(restored.carry) == bits(carry_at(4))
    assert jax.random.key_impl(restored.carry.key) == jax.random.key_impl(carry_at(4).key)
    assert restored.pieces == tuple(f"s{step}" for step in range(5))
    for step, name in enumerate(restored.pieces):
        piece = checkpoints.read_piece(name)
        assert piece.keys() == piece_at(step).keys()
        assert bits(piece) == bits(piece_at(step))


@pytest.mark.parametrize("impl", ["rbg", "threefry2x32"])
def test_keys_keep_their_implementation(tmp_path, impl):
    key = jax.random.key(1, impl=impl)
    Checkpoints(tmp_path).save({}, {"key": key}, {})
    found = Checkpoints(tmp_path).restore(lambda _: jax.eval_shape(lambda: {"key": key})).carry["key"]
    assert found.dtype == key.dtype
    assert (jax.random.normal(found, 3) == jax.random.normal(key, 3)).all()


def test_the_newest_three_stay_and_every_piece(folder):
    assert manifests(folder) == ["3.json", "4.json", "5.json"]
    assert sorted(path.name for path in (folder / "checkpoint" / "carry").iterdir()) == ["3", "4", "5"]
    assert len(list((folder / "checkpoint" / "pieces").iterdir())) == 5


def test_nothing_in_flight_is_a_checkpoint_too(tmp_path):
    checkpoints = saved(tmp_path, [0])
    checkpoints.save({"segment": -1}, None, {"last": piece_at(1)})
    restored = Checkpoints(tmp_path).restore(abstract_at)
    assert (restored.position, restored.carry, restored.pieces) == ({"segment": -1}, None, ("s0", "last"))
    with pytest.warns(UserWarning, match="holds no carry, this run wants a carry"):
        assert Checkpoints(tmp_path).restore(lambda _: abstract_at({"segment": 0})).position == {"segment": 0}


def test_no_checkpoint_is_none(tmp_path, recwarn):
    assert Checkpoints(tmp_path).restore(abstract_at) is None
    assert Checkpoints(tmp_path).stored_plan() is None
    assert not recwarn


def test_a_flipped_bit_in_any_file_of_the_newest_carry_falls_back(folder):
    files = [file for file in (folder / "checkpoint" / "carry" / "5").rglob("*") if file.is_file()]
    assert len(files) > 5
    for file in files:
        whole = file.read_bytes()
        flip(file)
        with pytest.warns(UserWarning, match=file.name):
            restored = Checkpoints(folder).restore(abstract_at)
        assert restored.position == {"segment": 3}
        assert bits(restored.carry) == bits(carry_at(3))
        assert restored.pieces == ("s0", "s1", "s2", "s3")
        file.write_bytes(whole)
    assert Checkpoints(folder).restore(abstract_at).position == {"segment": 4}


@pytest.mark.parametrize(
    ("name", "segment"),
    [("5.json", 3), ("pieces/s4.npz", 3), ("pieces/s3.npz", 2), ("pieces/s0.npz", None), ("plan.json", None)],
)
@pytest.mark.parametrize("damage", [flip, lambda file: flip(file, 0), lambda file: file.write_bytes(b"")])
def test_damage_to_other_files_falls_back(folder, name, segment, damage):
    file = folder / "checkpoint" / name
    damage(file)
    with pytest.warns(UserWarning, match=file.name):
        restored = Checkpoints(folder).restore(abstract_at)
    assert (restored and restored.position["segment"]) == segment


@pytest.mark.parametrize("name", ["pieces/s4.npz", "carry/5/manifest.ocdbt", "carry/5"])
def test_a_missing_file_falls_back(folder, name):
    gone = folder / "checkpoint" / name
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.warns(UserWarning, match="is missing"):
        assert Checkpoints(folder).restore(abstract_at).position == {"segment": 3}


def test_without_its_manifest_a_checkpoint_does_not_exist(folder, recwarn):
    (folder / "checkpoint" / "5.json").unlink()
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore(abstract_at).position == {"segment": 3}
    assert not recwarn
    checkpoints.save({"segment": 9}, carry_at(9), {})  # takes the number that a kill left half done
    assert bits(Checkpoints(folder).restore(abstract_at).carry) == bits(carry_at(9))


def test_a_bad_checkpoint_does_not_crowd_out_good_ones(folder):
    flip(folder / "checkpoint" / "5.json")
    checkpoints = Checkpoints(folder)
    with pytest.warns(UserWarning, match=r"5\.json"):
        checkpoints.restore(abstract_at)
    checkpoints.save({"segment": 4}, carry_at(4), {"s4": piece_at(4)})
    assert manifests(folder) == ["3.json", "4.json", "6.json"]
    assert Checkpoints(folder).restore(abstract_at).pieces == ("s0", "s1", "s2", "s3", "s4")


def test_a_piece_written_again_is_the_same_file(folder):
    before = (folder / "checkpoint" / "pieces" / "s4.npz").read_bytes()
    checkpoints = Checkpoints(folder)
    checkpoints.restore(abstract_at)
    checkpoints.save({"segment": 4}, None, {"s4": piece_at(4)})
    assert (folder / "checkpoint" / "pieces" / "s4.npz").read_bytes() == before


def wants_integers(position):
    carry = abstract_at(position)
    first, single, *rest = carry.weights
    return carry._replace(weights=(first, jax.ShapeDtypeStruct(single.shape, jnp.int32), *rest))


def wants_other_shape(position):
    return abstract_at(position)._replace(step=jax.ShapeDtypeStruct((1,), jnp.int32))


def wants_other_keys(position):
    return abstract_at(position)._replace(key=jax.eval_shape(lambda: jax.random.split(jax.random.key(0, impl="rbg"))))


@pytest.mark.parametrize(
    ("abstract_of", "message"),
    [
        (wants_integers, r"carry\.weights\[1\] holds float32 \(2, 3\), this run wants int32 \(2, 3\)"),
        (wants_other_shape, r"carry\.step holds int32 \(\), this run wants int32 \(1,\)"),
        (wants_other_keys, r"carry\.key holds key<fry> \(2,\), this run wants key<rbg> \(2,\)"),
        (lambda _: None, "holds a carry, this run wants no carry"),
        (lambda p: {"weights": abstract_at(p).weights}, "this run wants nothing"),
    ],
)
def test_a_carry_of_another_kind_is_not_used(folder, abstract_of, message):
    with pytest.warns(UserWarning, match=message) as caught:
        assert Checkpoints(folder).restore(abstract_of) is None
    assert len(caught) == 3


def test_an_error_in_the_callers_function_is_the_callers(folder):
    with pytest.raises(ZeroDivisionError):
        Checkpoints(folder).restore(lambda _: 1 // 0)


def test_the_plan_comes_back_and_binds_the_checkpoints(folder):
    checkpoints = Checkpoints(folder)
    assert checkpoints.stored_plan() == {"strategy": "map", "chunks": [4, 2]}
    checkpoints.store_plan({"strategy": "vmap", "chunks": [6]})
    with pytest.warns(UserWarning, match="is not the plan of this checkpoint"):
        assert Checkpoints(folder).restore(abstract_at) is None
    flip(folder / "checkpoint" / "plan.json", -5)
    with pytest.warns(UserWarning, match=r"plan\.json"):
        assert checkpoints.stored_plan() is None


def test_a_piece_damaged_after_the_restore_raises(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.restore(abstract_at)
    flip(folder / "checkpoint" / "pieces" / "s2.npz")
    with pytest.raises(OSError, match=r"s2\.npz"):
        checkpoints.read_piece("s2")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_a_piece_has_a_name_that_a_file_can_have(tmp_path, name):
    with pytest.raises(ValueError, match="letters, digits"):
        Checkpoints(tmp_path).save({}, None, {name: {}})


def test_clear_removes_everything(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.clear()
    checkpoints.clear()
    assert not (folder / "checkpoint").exists()
    assert checkpoints.restore(abstract_at) is None


# Each is a folder above the run: what a shell, a glob or a URL would read in another way.
ODD_FOLDERS = [
    "seed=[0]",
    "[!a]",
    "{0.1,0.2}",
    "a*b?",
    "**",
    "back\\slash",
    "gs:",
    "100%41",
    " q'u\"o te.",
    "ünï",
    "a\nb",
]


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_checkpoint_comes_back_whatever_the_folder_is_called(tmp_path, name):
    run = tmp_path / name / "run"
    run.mkdir(parents=True)
    Checkpoints(run).save({}, {"w": jnp.arange(3.0)}, {"piece": {"x": np.arange(2)}})
    found = Checkpoints(run)
    carry = found.restore(lambda _: jax.eval_shape(lambda: {"w": jnp.arange(3.0)})).carry
    assert carry["w"].tolist() == [0.0, 1.0, 2.0]
    assert found.read_piece("piece")["x"].tolist() == [0, 1]


def test_the_folder_of_temporary_files_may_be_odd_too(tmp_path, monkeypatch):
    (tmp_path / "job[1]").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "job[1]"))
    Checkpoints(tmp_path).save({}, {"w": jnp.arange(3.0)}, {})
    assert Checkpoints(tmp_path).restore(lambda _: jax.eval_shape(lambda: {"w": jnp.arange(3.0)})) is not None
    assert not list((tmp_path / "job[1]").iterdir())
