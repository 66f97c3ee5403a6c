"""Checkpoints made to harm: nothing in them runs, nothing is allocated or written at their word, and each is refused
with a sentence. Where a plain unpickling would have been caught out, the test shows that it would."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import random
import resource
import struct
import time
import zipfile
from pathlib import Path

import official_checkpoint as made
import pytest

torch = pytest.importorskip("torch")
from core.convert import Options, convert  # noqa: E402 - after the check that torch is there
from core.errors import CoreError  # noqa: E402
from core.official import layout  # noqa: E402
from core.official.archive import open_archive  # noqa: E402
from core.official.pickles import BrokenPickle, read_pickle  # noqa: E402
from core.prompts import Tokenizer  # noqa: E402

CODES = {
    "checkpoint_unsafe",
    "checkpoint_broken",
    "checkpoint_truncated",
    "checkpoint_unknown",
    "checkpoint_incomplete",
}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return made.official_state(made.small_config(), Tokenizer(made.make_tokenizer(folder)))


@pytest.fixture
def place(tmp_path):
    made.make_tokenizer(tmp_path)
    made.make_statistics(tmp_path)
    return tmp_path


def failure(place: Path, name: str = "bad.ckpt") -> CoreError:
    with pytest.raises(CoreError) as caught:
        convert(place / name, place / "out", Options(), lambda *_: None)
    assert not (place / "out").exists()
    return caught.value


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, compression: int = 0) -> Path:
    """A file in torch's container with any pickle in it."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        for key, data in (storages or {}).items():
            file.writestr(f"archive/data/{key}", data)
    return path


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


# -- running something -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["top", "hyper_parameters", "key", "state_dict", "legacy"])
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec], ids=lambda f: f.__name__)
def test_nothing_is_run(place, state, where, function):
    canary = place / "canary"
    python = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    harm = Calls(function, f"touch '{canary}'" if function is os.system else python)
    content = {
        "top": harm,
        "hyper_parameters": made.lightning(state, hyper_parameters={"cfg": harm}),
        "key": made.lightning(state, extra={harm: 1}),
        "state_dict": made.lightning({**state, "lm.extra": harm}),
        "legacy": made.lightning(state, extra=harm),
    }[where]
    torch.save(content, place / "bad.ckpt", _use_new_zipfile_serialization=where != "legacy")
    error = failure(place)
    assert error.code == "checkpoint_unsafe"
    assert function.__name__ in error.message
    assert not canary.exists()
    torch.load(place / "bad.ckpt", weights_only=False)  # the danger is real
    assert canary.exists()


NAMES = [
    b"cos\nsystem\n", b"cposix\nsystem\n", b"cnt\nsystem\n", b"csubprocess\nPopen\n", b"cbuiltins\ngetattr\n",
    b"c__builtin__\neval\n", b"cimportlib\nimport_module\n", b"crunpy\nrun_path\n", b"ctorch.hub\nload\n",
    b"ctorch\nload\n", b"ctorch.storage\n_load_from_bytes\n", b"cnumpy\nload\n", b"cnumpy.testing\nrundocs\n",
    b"cpathlib\nPath.write_text\n", b"comegaconf\nOmegaConf.load\n", b"ctyping\nAny.__init__\n",
    b"ctorch.nn.Module.__init__.__globals__\nSystem\n", b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n",
    b"cpickle\nloads\n", b"cwebbrowser\nopen\n", b"ccore.convert\nconvert\n",
    b"\x8c\x02os\x8c\x06system\x93", b"(S'x'\nios\nsystem\n", b"(cos\nsystem\nS'x'\no",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_data_are_refused(place, name):
    archive(place / "bad.ckpt", b"\x80\x04" + name + b".")
    assert failure(place).code == "checkpoint_unsafe"


HOSTILE = {
    "a type that makes types": b"cbuiltins\ntype\n(S'X'\n)}tR.",
    "a call of a text": b"S'os.system'\n(S'x'\ntR.",
    "a call of an object": b"cpathlib\nPosixPath\n(S'x'\ntR(S'x'\ntR.",
    "an extension code": b"\x82\x01.",
    "a terabyte of zeros": b"cbuiltins\nbytearray\n(\x8a\x06\x00\x00\x00\x00\x00\x01tR.",
    "a range of everything": b"cbuiltins\nlist\n(cbuiltins\nrange\n(I1000000000000\ntRtR.",
    "a memo of four billion": b"}r\xff\xff\xff\xff.",
    "a text longer than the file": b"\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "a number of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "state for an object": b"cpathlib\nPosixPath\n)R}S'__class__'\nS'x'\nsb.",
    "state for a list": b"]}S'append'\ncbuiltins\ndict\nsb.",
    "an unhashable key": b"}]]s.",
    "an odd number of items": b"}(S'a'\nu.",
    "a name that is no text": b"c\xc3\xb6s\nsystem\n.",
    "no stack": b"R.",
    "no mark": b"u.",
    "no end": b"}}",
    "a storage outside": b"(S'file'\nS'/etc/passwd'\ntQ.",
    "a storage of a path": b"(S'storage'\nctorch\nFloatStorage\nS'../../../etc/passwd'\nS'cpu'\nI4\ntQ.",
    "a storage of a negative size": b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI-4\ntQ.",
    "a storage of another kind": b"(S'storage'\ntorch.save\nS'0'\nS'cpu'\nI4\ntQ.",
    "a persistent id in text": b"P/etc/passwd\n.",
    "nothing": b"",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickles_end_in_a_sentence_at_once(place, what, within):
    archive(place / "bad.ckpt", b"\x80\x02" + HOSTILE[what], {"0": bytes(16)})
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert failure(place).code in CODES
    within(time.monotonic() - started, 5.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_structures_that_double_or_bite_their_tail_end(place, within):
    nested = [((),), {"state_dict": {}}]
    for _ in range(60):  # 2**60 leaves, for whoever walks or hashes it without care
        nested[0] = (nested[0], nested[0])
        nested[1] = {"state_dict": nested[1], "model": nested[1], "net": {"state_dict": nested[1]}}
    loop: dict = {}
    loop["state_dict"] = loop["model"] = loop
    keyed = b"})" + b"2\x86" * 60 + b"K\x01s."  # as a key: hash() alone would take for ever
    for content in (pickle.dumps(nested, 2), pickle.dumps(loop, 2), b"\x80\x02" + keyed):
        started = time.monotonic()
        archive(place / "bad.ckpt", content)
        assert failure(place).code in CODES
        within(time.monotonic() - started, 5.0)


def test_copies_upon_copies_are_refused():
    """A list of a million entries that is made a tuple a hundred thousand times over."""
    many = b"(" + b"N" * 1_000_000 + b"lq\x00" + b"cbuiltins\ntuple\nq\x01" + b"h\x01h\x00\x85R" * 100_000 + b"."
    with pytest.raises(BrokenPickle, match="copies too much"):
        read_pickle(io.BytesIO(many), lambda *_: NotImplemented, lambda _: None)


# -- tensors that lie about where they are ---------------------------------------------------------------------------


def tensor(offset=b"K\x00", shape=b"K\x02K\x02\x86", stride=b"K\x02K\x01\x86", count=b"K\x04", key=b"0") -> bytes:
    """{"lm.x": a tensor of 2 x 2 numbers} in torch's own steps."""
    storage = b"(U\x07storagectorch\nFloatStorage\nU" + bytes([len(key)]) + key + b"U\x03cpu" + count + b"tQ"
    return (
        b"\x80\x02}U\x04lm.xctorch._utils\n_rebuild_tensor_v2\n("
        + storage + offset + shape + stride + b"\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


LONG = b"\x8a\x07\x00\x00\x00\x00\x00\x00\x01"
LIES = {
    "an offset beyond": {"offset": b"K\x01"},
    "a negative offset": {"offset": b"J\xff\xff\xff\xff"},
    "a huge offset": {"offset": LONG},
    "a shape beyond": {"shape": b"K\x03K\x02\x86"},
    "a stride beyond": {"stride": b"K\x03K\x01\x86"},
    "a negative stride": {"stride": b"J\xfe\xff\xff\xffK\x01\x86"},
    "one number repeated": {"shape": LONG + LONG + b"\x86", "stride": b"K\x00K\x00\x86"},
    "a shape of text": {"shape": b"U\x012U\x012\x86"},
    "a shape of truths": {"shape": b"\x88\x88\x86"},
    "a stride too many": {"stride": b"K\x02K\x01K\x01\x87"},
    "more numbers than stored": {"count": LONG},
    "a storage that is not there": {"key": b"1"},
    "a storage elsewhere": {"key": b"../version"},
}


@pytest.mark.parametrize("what", LIES)
def test_tensors_stay_within_their_storage(place, what):
    data = bytes(16)
    archive(place / "good.ckpt", tensor(), {"0": data})
    assert open_archive(place / "good.ckpt").content["lm.x"].shape == (2, 2)  # what is refused below is the lie only
    archive(place / "bad.ckpt", tensor(**LIES[what]), {"0": data})
    assert failure(place).code == "checkpoint_broken"


# -- the container ---------------------------------------------------------------------------------------------------


def test_a_zip_bomb_is_not_unpacked(place):
    archive(place / "bad.ckpt", b"\x80\x02]" + bytes(150_000_000), compression=zipfile.ZIP_DEFLATED)
    assert (place / "bad.ckpt").stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert failure(place).code == "checkpoint_broken"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_names_that_lead_elsewhere_write_nothing(place):
    with zipfile.ZipFile(place / "bad.ckpt", "w") as file:
        file.writestr("../../escaped/data.pkl", tensor())
        file.writestr("../../escaped/data/0", bytes(16))
    before = sorted(path.name for path in place.parent.iterdir())
    failure(place)
    assert sorted(path.name for path in place.parent.iterdir()) == before
    assert not list(place.parent.parent.glob("escaped*"))


def test_two_pickles_of_one_name_are_refused(place):
    """Whichever of the two another program checks, this one might read the other."""
    with zipfile.ZipFile(place / "bad.ckpt", "w") as file:
        file.writestr("archive/data.pkl", tensor())
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
        file.writestr("archive/data/0", bytes(16))
    assert failure(place).code == "checkpoint_unknown"


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_any_damage_ends_in_a_sentence(place, state, container):
    """Bytes changed at random in what is not numbers: a sentence or a sound result, never another error."""
    from safetensors.torch import save_file

    few = {k: v.clone() for k, v in list(state.items())[:12]}
    path = place / "bad.ckpt"
    if container == "safetensors":
        save_file(few, path)
    else:
        torch.save(made.lightning(few), path, _use_new_zipfile_serialization=container == "zip")
    whole = path.read_bytes()
    rng = random.Random(7)
    structure = [i for i in range(len(whole)) if i < 6000 or i > len(whole) - 3000]
    outcomes = {"sound": 0}
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.choice(structure)] = rng.choice((0, 1, 0x2E, 0x52, 0x63, 0x7F, 0xFF, rng.randrange(256)))
        path.write_bytes(data)
        try:
            found = open_archive(path)
            weights = layout.find_weights(found)
            for stored in list(weights.tensors.values())[:2]:
                list(found.blocks(stored))
            found.close()
            outcomes["sound"] += 1
        except CoreError as error:
            outcomes[error.code] = outcomes.get(error.code, 0) + 1
    assert outcomes["sound"] < 250
    assert outcomes.keys() - {"sound"} <= CODES
