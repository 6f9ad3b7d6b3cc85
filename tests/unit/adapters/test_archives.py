"""Archives that mean harm: each is made here, is refused with its reason, and leaves nothing outside its folder."""

import contextlib
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.archives import KEPT, packed, unpack
from adapters.errors import AdapterTooLarge, InvalidAdapter
from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS

GOOD = {CONFIG: b"{}", WEIGHTS: b"weights"}
LIMIT = 64 * 1024**2


def tar(files: Mapping[str, bytes], *members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return out.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def special(kind: bytes, target: str = "/etc/passwd", name: str = CONFIG) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        member = zipfile.ZipInfo(CONFIG)
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    return out.getvalue()


def tar_twice() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo(CONFIG), io.BytesIO())
    return out.getvalue()


def zip_twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(CONFIG, "{}")
        archive.writestr(CONFIG, "{}")
    return out.getvalue()


def zip_with(position: int, value: bytes) -> bytes:
    """A good zip whose last 22 bytes, its end, say something else."""
    made = bytearray(zipped(GOOD))
    made[len(made) - 22 + position : len(made) - 22 + position + len(value)] = value
    return bytes(made)


def huge_pax_header() -> bytes:
    """An extended header that claims and holds far more than a header needs, which readers keep in memory."""
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = tarfile.XHDTYPE, 32 * 1024**2
    return member.tobuf() + bytes(member.size) + tar(GOOD)


def backwards(name: str) -> bytes:
    """A size below zero, which sends a reader that believes it back to this header for ever."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" + (-1024).to_bytes(11, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block) + bytes(10240)


def sent(tmp_path: Path, content: bytes, limit: int = LIMIT) -> Path:
    room = tmp_path / "room"
    (room / "folder").mkdir(parents=True)
    (room / "source").write_bytes(content)
    unpack(room / "source", room / "folder", limit)
    return room / "folder"


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "content",
    [
        tar(GOOD),
        gzip.compress(tar(GOOD)),
        zipped(GOOD),
        zipped(GOOD, zipfile.ZIP_STORED),
        tar({f"./{name}": content for name, content in GOOD.items()}),
        tar({f"support/{name}": content for name, content in GOOD.items()}),
        zipped({f"support/{name}": content for name, content in GOOD.items()}),
        tar(GOOD | {"README.md": b"hello", "tokenizer.json": b"{}"}),
    ],
    ids=["tar", "tar.gz", "zip", "stored zip", "dotted", "tar folder", "zip folder", "with a card"],
)
def test_an_adapters_files_are_unpacked_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    assert held(sent(tmp_path, content)) == GOOD


BESIDE = b"\0\5\x16\7"
"""How macOS begins what it puts beside a file."""


def test_an_archive_by_finder_is_taken_without_what_it_puts_beside(tmp_path: Path) -> None:
    inside = {f"support/{name}": content for name, content in GOOD.items()}
    beside = {f"__MACOSX/support/._{name}": BESIDE for name in GOOD}
    trap = {"__MACOSX/._support": BESIDE, f"__MACOSX/{CONFIG}": BESIDE}
    assert held(sent(tmp_path, zipped(inside | beside | trap))) == GOOD


def test_an_archive_by_bsdtar_is_taken_without_what_it_puts_beside(tmp_path: Path) -> None:
    files = {"./._support": BESIDE}
    for name, content in GOOD.items():
        files |= {f"support/._{name}": BESIDE, f"support/{name}": content}
    assert held(sent(tmp_path, tar(files))) == GOOD


HOSTILE: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "absolute name": (lambda: tar(GOOD | {"/tmp/evil": b"x"}), "leads out"),
    "parent": (lambda: tar(GOOD | {"../evil": b"x"}), "leads out"),
    "parent inside": (lambda: tar({f"a/../../{CONFIG}": b"x"}), "leads out"),
    "parent folder": (lambda: tar(GOOD, special(tarfile.DIRTYPE, name="../evil")), "leads out"),
    "zip absolute": (lambda: zipped(GOOD | {"/tmp/evil": b"x"}), "leads out"),
    "zip parent": (lambda: zipped(GOOD | {"../evil": b"x"}), "leads out"),
    "zip parent folder": (lambda: zipped(GOOD | {"../evil/": b""}), "leads out"),
    "backslash": (lambda: tar(GOOD | {"..\\evil": b"x"}), "characters"),
    "control character": (lambda: tar(GOOD | {"a\nb": b"x"}), "characters"),
    "symbolic link": (lambda: tar({}, special(tarfile.SYMTYPE)), "is a link"),
    "hard link": (lambda: tar({}, special(tarfile.LNKTYPE)), "is a link"),
    "device": (lambda: tar({}, special(tarfile.CHRTYPE)), "is a link"),
    "block device": (lambda: tar({}, special(tarfile.BLKTYPE)), "is a link"),
    "pipe": (lambda: tar({}, special(tarfile.FIFOTYPE)), "is a link"),
    "sparse": (lambda: tar({}, special(tarfile.GNUTYPE_SPARSE)), "sparse"),
    "zip link": (zip_link, "is a link"),
    "two files of a name": (tar_twice, "twice"),
    "zip with two files of a name": (zip_twice, "twice"),
    "two folders": (lambda: tar({f"a/{CONFIG}": b"{}", f"b/{WEIGHTS}": b"w"}), "one flat folder"),
    "deep": (lambda: tar({f"a/b/{CONFIG}": b"{}"}), "one flat folder"),
    "pickle": (lambda: tar(GOOD | {"adapter_model.bin": b"\x80\x04."}), "run code"),
    "torch file": (lambda: zipped({"archive/data.pkl": b"\x80\x04."}), "run code"),
    "too many": (lambda: tar({f"{i}.txt": b"" for i in range(300)}), "more than 256"),
    "too many of macOS's": (lambda: tar({f"__MACOSX/{i}/._a": b"" for i in range(300)}), "more than 256"),
    "macOS's parent": (lambda: tar(GOOD | {"__MACOSX/../../._evil": b"x"}), "leads out"),
    "gzip bomb": (lambda: gzip.compress(bytes(48 * 1024**2)), "100 times"),
    "zip bomb": (lambda: zipped({WEIGHTS: bytes(48 * 1024**2)}), "100 times"),
    "zip comment": (lambda: zip_with(20, b"\x01\x00"), "comment"),
    "zip with a large directory": (lambda: zip_with(12, b"\xff\xff\xff\x7f"), "directory"),
    "zip in a rare compression": (lambda: zipped(GOOD, zipfile.ZIP_LZMA), "compressed in a way"),
    "cut zip": (lambda: zipped(GOOD)[:-30], "cut off"),
    "cut gzip": (lambda: gzip.compress(tar(GOOD))[:-20], "damaged"),
    "cut tar": (lambda: tar({WEIGHTS: bytes(100_000)})[:50_000], "damaged"),
    "large header": (huge_pax_header, "damaged"),
    "negative size": (lambda: backwards("README.md"), "damaged"),
    "negative size of what is kept": (lambda: backwards(CONFIG), "not of the size"),
    "text": (lambda: b"hello" * 1000, "neither"),
    "nothing": (lambda: b"", "neither"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_with_its_reason(tmp_path: Path, kind: str) -> None:
    make, reason = HOSTILE[kind]
    with pytest.raises(InvalidAdapter, match=reason):
        sent(tmp_path, make())
    assert {path.name for path in tmp_path.iterdir()} == {"room"}
    assert {path.name for path in (tmp_path / "room" / "folder").iterdir()} <= KEPT


@pytest.mark.parametrize("content", [tar({WEIGHTS: bytes(5000)}), zipped({WEIGHTS: bytes(5000)})])
def test_more_than_the_limit_is_too_large(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AdapterTooLarge):
        sent(tmp_path, content, limit=4999)


@pytest.mark.parametrize("make", [tar, zipped])
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_archive_is_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[..., bytes], data: st.DataObject
) -> None:
    content = bytearray(make(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 2048) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    with contextlib.suppress(InvalidAdapter):
        sent(folder, bytes(content))
    assert {path.name for path in (folder / "room" / "folder").iterdir()} <= KEPT


def pieces(directory: Path) -> Iterator[bytes]:
    sizes = {name: len(content) for name, content in GOOD.items()}
    return packed(
        sizes, {name: iter([(directory / name).read_bytes()]) for name in sizes}, b'{"version": "v1"}'
    )


def test_what_is_packed_unpacks_to_the_same_files(tmp_path: Path) -> None:
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
    folder = sent(tmp_path, b"".join(pieces(tmp_path)))
    assert held(folder) == GOOD | {"lineage.json": b'{"version": "v1"}'}


def test_the_same_files_pack_to_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for owner in ("one", "other"):
        directory = tmp_path / owner
        directory.mkdir()
        for name, content in GOOD.items():
            (directory / name).write_bytes(content)
        made.append(b"".join(pieces(directory)))
    assert made[0] == made[1]
