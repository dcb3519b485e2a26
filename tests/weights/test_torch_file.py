"""PyTorch's files without PyTorch: the same bits both ways, and no harm from made or broken ones.

tests/golden/torch holds files of three versions of PyTorch, the oldest in Python 2. Each was saved
of the same tensors (`EXPECTED`), nested under `state_dict` beside an optimizer's.
"""

import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.weights.files import read_state_dict, write_state_dict
from harmony_jax.weights.torch_file import read_torch_file, write_torch_file
from tests.pytorch import needs_torch, torch
from tests.weights.checks import assert_same_arrays, refusal

FILES = sorted((Path(__file__).parents[1] / "golden" / "torch").glob("*.pth"))

BASE = np.arange(24, dtype=np.float32) / 8
EXPECTED = {
    "conv.weight": BASE.reshape(2, 3, 4),
    "tied": BASE.reshape(2, 3, 4),
    "transposed": BASE[3:15].reshape(3, 4).T,
    "every second": BASE[1::2],
    "repeated": BASE[[5, 5, 5]],
    "half": BASE[:5],
    "bfloat16": BASE[:5],
    "double": BASE[:5],
    "parameter": BASE[:2],
    "counter": np.array(5),
    "empty": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False]),
}

ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
FLOAT_STORAGE = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
# Magic number, version, machine.
LEGACY_HEAD = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))


def fragment(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def storage(size: int, key: object = "0", type_: bytes = FLOAT_STORAGE) -> bytes:
    return b"".join(
        [b"(", fragment("storage"), type_, fragment(key), fragment("cpu"), fragment(size), b"tQ"]
    )


def tensor(shape: tuple, strides: tuple, offset: int = 0, of: bytes | None = None) -> bytes:
    of = of or storage(1)
    return b"".join([REBUILD, b"(", of, *map(fragment, (offset, shape, strides)), b"\x89}tR"])


def state_dict(*entries: bytes) -> bytes:
    """A pickle of these values under the names 0, 1 ..."""
    named = [fragment(str(name)) + entry for name, entry in enumerate(entries)]
    return b"\x80\x02}(" + b"".join(named) + b"u."


def make_archive(
    path: Path, description: bytes, storages: dict[str, bytes], compression: int = 0
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", description)
        for name, data in storages.items():
            archive.writestr(f"archive/{name}", data)
        archive.writestr("archive/version", "3\n")
    return path


def refused(folder: Path, description: bytes) -> str:
    """What a file of today's format with this pickle is refused with, in little memory."""
    path = make_archive(folder / "made.pth", description, {"data/0": bytes(4)})
    refusal(path)  # imports and caches
    tracemalloc.start()
    try:
        message = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 100 * path.stat().st_size + 200_000
    finally:
        tracemalloc.stop()
    return message


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_every_age_are_read(path):
    found = read_state_dict(path)
    assert list(found) == list(EXPECTED)
    assert_same_arrays(found, EXPECTED)
    assert np.shares_memory(found["tied"], found["conv.weight"])


def bits(array: np.ndarray) -> tuple:
    return array.shape, array.dtype.itemsize, array.tobytes()


def bits_of_tensor(tensor) -> tuple:
    return (
        tuple(tensor.shape),
        tensor.element_size(),
        tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
    )


@needs_torch
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before 1.6"])
def test_every_number_type_that_pytorch_writes_is_read(tmp_path, is_zip):
    names = (
        "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128"
    )
    names += " uint16 uint32 uint64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz"
    data = np.random.default_rng(0).integers(0, 2, 48).astype(np.uint8)
    written = {name: torch.tensor(data).view(getattr(torch, name)) for name in names.split()}
    written["attribute"] = torch.tensor(data)
    written["attribute"].note = "kept out"
    path = tmp_path / "weights.pth"
    torch.save(written, path, _use_new_zipfile_serialization=is_zip)
    found = read_torch_file(path)
    for key, value in written.items():
        assert bits(found[key]) == bits_of_tensor(value), key
        if key != "attribute":
            assert found[key].dtype.name == key


@needs_torch
@pytest.mark.parametrize("mmap", [True, False])
def test_pytorch_reads_the_same_of_what_is_written(tmp_path, mmap):
    random = np.random.default_rng(0)
    types = (np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8)
    written = {
        f"{np.dtype(type_)} é": (90 * random.random((2, 3))).astype(type_) for type_ in types
    }
    written |= {"z": np.array(7), "empty": np.zeros((2, 0, 3), np.float32), "a": np.array([True])}
    path = tmp_path / "weights.pth"
    write_state_dict(path, written)
    found = torch.load(path, weights_only=True, mmap=mmap)
    assert type(found) is OrderedDict
    assert list(found) == list(written)
    for key, value in written.items():
        assert bits_of_tensor(found[key]) == bits(value)
        assert str(found[key].dtype) == f"torch.{value.dtype}"
        assert found[key].is_contiguous()
        assert found[key].stride() == torch.zeros(value.shape).stride()


def test_storages_begin_where_they_can_be_mapped(tmp_path):
    write_state_dict(tmp_path / "weights.pth", {"weight": BASE, "é" * 50: BASE[:1], "last": BASE})
    data = (tmp_path / "weights.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "weights.pth") as archive:
        for info in archive.infolist():
            lengths = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert (info.header_offset + 30 + sum(lengths)) % 64 == 0


def test_what_is_too_large_for_float32_becomes_infinite(tmp_path):
    """As in PyTorch, without a warning."""
    write_state_dict(tmp_path / "weights.pth", {"weight": np.array([1e300, -1.5])})
    found = read_state_dict(tmp_path / "weights.pth")["weight"]
    np.testing.assert_array_equal(found, np.array([np.inf, -1.5], np.float32))


def test_a_type_that_pytorch_has_not_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"weights\.pth: names is <U1, which PyTorch has no"):
        write_torch_file(tmp_path / "weights.pth", {"names": np.array(["a"])})
    assert list(tmp_path.iterdir()) == []


def test_big_endian_files_are_read(tmp_path):
    values = np.array([1.5, -2.5], ">f4")
    types = [FLOAT_STORAGE, b"ctorch\nComplexFloatStorage\n", b"ctorch\nBFloat16Storage\n"]
    content = state_dict(
        tensor((2,), (1,), of=storage(2)),
        tensor((1,), (1,), of=storage(1, "1", types[1])),
        tensor((1,), (1,), of=storage(1, "2", types[2])),
    )
    storages = {"data/0": values.tobytes(), "data/1": values.tobytes(), "data/2": b"\x3f\xc0"}
    path = make_archive(tmp_path / "big.pth", content, {**storages, "byteorder": b"big"})
    found = read_state_dict(path)
    np.testing.assert_array_equal(found["0"], np.array([1.5, -2.5], np.float32))
    np.testing.assert_array_equal(found["1"], np.array([1.5 - 2.5j], np.complex64))
    np.testing.assert_array_equal(found["2"], np.array([1.5], np.float32))
    path = make_archive(tmp_path / "odd.pth", content, {**storages, "byteorder": b"middle"})
    assert "byte order 'middle'" in refusal(path)


def test_a_wrong_checksum_is_damage_where_it_concerns_weights(tmp_path):
    data = bytearray((FILES[-1]).read_bytes())
    assert data.count(BASE.tobytes()) == 2  # the weights', then the optimizer's
    path = tmp_path / "damaged.pth"
    for place, is_read in ((data.find(BASE.tobytes()), False), (data.rfind(BASE.tobytes()), True)):
        data[place + 50] ^= 1
        path.write_bytes(data)
        data[place + 50] ^= 1
        if is_read:
            assert read_state_dict(path).keys() == EXPECTED.keys()
        else:
            assert "damaged PyTorch file, or another zip archive (Bad CRC-32 for" in refusal(path)


MANY = 1 << 40


INSTRUCTIONS = "instructions that weights do not need, none was executed"


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        # Tensors that claim what is not there.
        (state_dict(tensor((MANY,), (0,))), "its tensors would take 4.4e+12 bytes, the file has"),
        (state_dict(tensor((1 << 16,) * 4, (0,) * 4)), "its tensors would take 7.38e+19 bytes"),
        (state_dict(*[tensor((1 << 18,), (0,))] * 5), "its tensors would take 5.24e+06 bytes"),
        (state_dict(tensor((2,), (1,))), "damaged"),
        (state_dict(tensor((1,), (1,), offset=1)), "damaged"),
        (state_dict(tensor((1,), (1,), offset=-1)), "damaged"),
        (state_dict(tensor((2,), (-1,), offset=1, of=storage(2))), "damaged"),
        (state_dict(tensor((1, 1), (1,))), "damaged"),
        (state_dict(tensor((1,) * 70, (1,) * 70)), "damaged"),
        (state_dict(tensor((0, 1 << 61), (1 << 61, 1 << 61))), "damaged"),
        (state_dict(tensor((1.0,), (1,))), "damaged"),
        (state_dict(tensor((1,), (1,), of=storage(MANY))), "its storages are larger than the file"),
        (state_dict(tensor((1,), (1,), of=storage(2))), "'archive/data/0' has 4 of 8 bytes"),
        (state_dict(tensor((1,), (1,), of=storage(1, "../../etc/passwd"))), "damaged"),
        (state_dict(tensor((1,), (1,), of=storage(1, 0))), "damaged"),
        (state_dict(tensor((1,), (1,), of=storage(1, type_=b"ctorch\nSize\n"))), "damaged"),
        (state_dict(tensor((1,), (1,), of=storage(1, type_=b"N"))), "damaged"),
        (state_dict(tensor((1,), (1,), of=fragment(("storage",)) + b"Q")), "not a storage"),
        (state_dict(tensor((1,), (1,), of=fragment("0") + b"Q")), "not a storage"),
        (state_dict(tensor((1,), (1,)), tensor((1,), (1,), of=storage(2))), "is of two kinds"),
        # Instructions that call or fetch something, or ask for memory by themselves.
        (b"\x80\x02(S'true'\nios\nsystem\n.", INSTRUCTIONS),  # INST
        (b"\x80\x02(cos\nsystem\no.", "'os.system'"),  # OBJ
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", INSTRUCTIONS),  # NEWOBJ
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", INSTRUCTIONS),  # STACK_GLOBAL
        (b"\x80\x02\x82\x01.", INSTRUCTIONS),  # EXT1
        (b"\x80\x02P0\n.", INSTRUCTIONS),  # PERSID
        (b"\x80\x05\x96" + struct.pack("<Q", MANY) + b".", INSTRUCTIONS),  # BYTEARRAY8
        (b"\x80\x04\x95" + struct.pack("<Q", MANY) + b".", INSTRUCTIONS),  # FRAME
        (b"\x80\x02]r\xff\xff\xff\x7f.", "holds a list"),  # LONG_BINPUT: of no effect
        (b"\x80\x02X\xff\xff\xff\xffa.", "damaged"),  # BINUNICODE
        (b"\x80\x02T\xff\xff\xff\x7fa.", "damaged"),  # BINSTRING
        # Calls of what is no function, and attributes of functions, classes and numbers.
        (b"\x80\x02])R.", "damaged"),
        (b"\x80\x02" + ORDERED_DICT + b")R.", "damaged"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}R.", "damaged"),
        (b"\x80\x02K\x01}b.", "holds a int"),
        (b"\x80\x02" + ORDERED_DICT + b"}X\x05\x00\x00\x00itemsNsb.", "holds no weights"),
        (b"\x80\x02ccollections\nOrderedDict\nN}X\x03\x00\x00\x00getNs\x86b.", "not a state_dict"),
        # Names that are nearly known.
        (b"\x80\x02ctorch\nFloatStorage.__init__\n.", "'torch.FloatStorage.__init__'"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.x\n.", "_rebuild_tensor_v2.x'"),
        (b"\x80\x02cbuiltins\neval\n.", "'builtins.eval'"),
        (b"\x80\x02c" + b"o" * 100_000 + b"\nx\n.", "ooo"),
        ("\x80\x02cos\u2028\r\nsystem\n.".encode("latin1", "replace"), "refused: names 'os?\\r"),
        # A key whose hash overflows the stack, and as many objects as so many bytes can make.
        (b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.", "a dict whose key is a tuple"),
        (b"\x80\x02" + b"]" * 100_000 + b".", "holds a list"),
        (b"\x80\x02" + b"}" * 100_000 + b".", "holds no weights"),
        (b"\x80\x02" + b"(" * 100_000 + b".", "damaged"),
        # [pairs, (pairs,), OrderedDict, OrderedDict(pairs), OrderedDict(pairs) ...]
        (
            b"\x80\x02](" + fragment([[number, 0] for number in range(1000)]) + b"h\x00\x85q\x01"
            b"ccollections\nOrderedDict\nq\x02" + b"h\x02h\x01R" * 1000 + b"e.",
            "holds a list",
        ),
    ],
)
def test_pickles_made_to_do_harm_are_one_line(tmp_path, description, expected):
    assert expected in refused(tmp_path, description)


def test_pairs_make_an_ordered_dict_as_python_2_wrote_it(tmp_path):
    pairs = b"](](" + fragment("weight") + tensor((1,), (1,)) + b"ee"
    description = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85R."
    path = make_archive(tmp_path / "made.pth", description, {"data/0": bytes(4)})
    np.testing.assert_array_equal(read_state_dict(path)["weight"], np.zeros(1, np.float32))


def test_views_of_storages_as_the_oldest_files_have_them_are_read(tmp_path):
    whole = storage(4).removesuffix(b"tQ")
    entries = [
        tensor((2,), (1,), of=whole + fragment(("1", 2, 2)) + b"tQ"),
        tensor((4,), (1,), of=whole + b"NtQ"),
    ]
    data = np.arange(4, dtype=np.float32)
    path = tmp_path / "weights.pth"
    path.write_bytes(
        LEGACY_HEAD
        + state_dict(*entries)
        + pickle.dumps(["0"], 2)
        + struct.pack("<q", 4)
        + data.tobytes()
    )
    found = read_state_dict(path)
    np.testing.assert_array_equal(found["0"], data[2:])
    np.testing.assert_array_equal(found["1"], data)


def test_compressed_and_overlapping_members_are_one_line(tmp_path):
    content = state_dict(tensor((1 << 20,), (1,), of=storage(1 << 20)))
    bomb = make_archive(tmp_path / "bomb.pth", content, {"data/0": bytes(4 << 20)}, 8)
    assert bomb.stat().st_size < 10_000
    assert "'archive/data.pkl' is compressed, as torch.save does not" in refusal(bomb)
    # Many members that are the same bytes of the file.
    numbers = range(100)
    entries = [tensor((250,), (1,), of=storage(250, str(number))) for number in numbers]
    path = make_archive(tmp_path / "made.pth", state_dict(*entries), {"data/0": bytes(1000)})
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("archive/data/0")
        for number in numbers[1:]:
            info = zipfile.ZipInfo(f"archive/data/{number}")
            info.file_size, info.compress_size, info.CRC = 1000, 1000, first.CRC
            info.header_offset = first.header_offset
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
        archive._didModify = True
    assert "its storages are larger than the file" in refusal(path)


def test_an_archive_that_lies_about_its_members_is_one_line(tmp_path):
    data = FILES[-1].read_bytes()
    for size in (0xFFFFFFF0, 0x7FFFFFFF, 10_000):  # of data.pkl, in the directory
        directory = data.rfind(b"PK\x01\x02", 0, data.find(b"/data.pkl", data.find(b"PK\x01\x02")))
        lying = bytearray(data)
        lying[directory + 20 : directory + 28] = struct.pack("<II", size, size)
        (tmp_path / "lying.pth").write_bytes(lying)
        assert "is larger than the file" in refusal(tmp_path / "lying.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_more_names_than_any_model_has_are_one_line(tmp_path, is_zip):
    long = b"\x80\x02" + b"N" * (4 << 20) + b"."
    path = make_archive(tmp_path / "made.pth", long, {})
    if not is_zip:
        path.write_bytes(LEGACY_HEAD + long)
    assert "more than 4 MiB of names and values" in refusal(path)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """A file with bits flipped, bytes cut out or off, repeated, or overwritten by others of it."""
    data = bytearray(data)
    for _ in range(random.integers(1, 4)):
        length = len(data)
        if not length:
            break
        place, other, count = (int(random.integers(limit)) for limit in (length, length, 64))
        match random.integers(5):
            case 0 | 1:
                data[place] ^= 1 << int(random.integers(8))
            case 2:
                data[place : place + count] = data[other : other + count]
            case 3:
                data[place:place] = data[other : other + count]
            case 4:
                del data[place : None if count < 8 else place + count]
    return bytes(data)


def test_a_thousand_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    random = np.random.default_rng(0)
    files = [path.read_bytes() for path in FILES]
    path = tmp_path / "mutated.pth"
    num_read = 0
    tracemalloc.start()
    try:
        for number in range(1000):
            path.write_bytes(mutated(files[number % len(files)], random))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                found = read_state_dict(path)
            except InputError as error:
                message = str(error)
                assert message.startswith(f"{path}: ")
                assert message.isprintable()
                assert len(message) < len(str(path)) + 300
            else:
                num_read += 1
                assert sum(array.nbytes for array in found.values()) <= 1 << 22
            assert tracemalloc.get_traced_memory()[1] - before < 1 << 20
    finally:
        tracemalloc.stop()
    assert 50 < num_read < 500
