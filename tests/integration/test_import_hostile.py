"""Adapters that mean harm, through the admin API: each is refused with a reason that can be read, none fails control,
and nothing of it stays on the disk or in the record."""

import gzip
import io
import json
import os
import socket
import stat
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tests.integration.random_adapters import write_adapter
from tests.integration.transfer_house import CONFIG, FIRST, WEIGHTS, House, housed, tar

MIB = 1024**2
Files = dict[str, bytes]
Harm = Callable[[Files], bytes]


@pytest.fixture
async def home(tmp_path: Path, redis_url: str) -> AsyncIterator[House]:
    async with housed(tmp_path, redis_url, import_max_bytes=64 * MIB) as made:
        yield made


async def refused(home: House, kind: str, status: int = 400, **sent: Any) -> dict[str, Any]:
    """sent: a request's body, as httpx takes it."""
    response = await home.admin.post("/admin/v1/tenants/acme/adapters/default/versions", **sent)
    assert (kind, response.status_code) == (kind, status), response.text[:500]
    error: dict[str, Any] = response.json()["error"]
    assert 0 < len(error["message"]) < 1000, kind
    assert len(error["param"]) <= 200, kind
    assert (kind, home.left()) == (kind, [])
    assert (kind, (await home.call("GET", "/versions"))["data"]) == (kind, [])
    return error


# ---------------------------------------------------------------------------------------------------------- archives


def plain_tar(files: Mapping[str, bytes], **pax: str) -> bytes:
    """pax: records of the first member's extended header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, (name, content) in enumerate(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.pax_headers = {} if number else pax
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def folders(files: Files) -> bytes:
    """Headers without contents, which a reader that remembers them all pays for in memory."""
    return b"".join(_folder(f"d{number}") for number in range(20_000)) + plain_tar(files)


def _folder(name: str) -> bytes:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member.tobuf()


def global_headers(files: Files) -> bytes:
    """Settings for all that follows, new ones again and again."""
    made = [tarfile.TarInfo.create_pax_global_header({f"k{n}": "x" * 900_000}) for n in range(12)]
    return b"".join(made) + plain_tar(files)


def sparse_tar(files: Files) -> bytes:
    """One that says that it is a terabyte."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1024**4)}
    return plain_tar({WEIGHTS: b"1\n0\n10\n" + files[WEIGHTS], CONFIG: files[CONFIG]}, **records)


def sparse_blocks_without_end(_: Files) -> bytes:
    member = tarfile.TarInfo(WEIGHTS)
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:482] = b"00000000001\0" * 8
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    more = (b"00000000001\0" * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    return bytes(block) + more * 20_000


def long_names_of_long_names(files: Files) -> bytes:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 512
    return (member.tobuf(tarfile.GNU_FORMAT) + b"x" * 512) * 3000 + plain_tar(files)


def zipped(files: Mapping[str, bytes]) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytearray(out.getvalue())


def zip_that_says(offset: int, value: bytes) -> Harm:
    """The last member's entry in the directory says something else."""

    def made(files: Files) -> bytes:
        content = zipped(files)
        at = content.rindex(b"PK\1\2") + offset
        content[at : at + len(value)] = value
        return bytes(content)

    return made


def zip_of_device(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        member = zipfile.ZipInfo(CONFIG)
        member.external_attr = (stat.S_IFCHR | 0o666) << 16
        archive.writestr(member, files[CONFIG])
    return out.getvalue()


def one_content_under_two_names(files: Files) -> bytes:
    """Both names of the directory lead to one place in the file."""
    content = zipped({CONFIG: files[CONFIG], WEIGHTS: files[WEIGHTS]})
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = bytes(4)
    return bytes(content)


ARCHIVES: Mapping[str, tuple[Harm, str]] = {
    "an archive in an archive": (
        lambda f: tar({CONFIG: f[CONFIG], WEIGHTS: tar(f)}),
        "not a safetensors file",
    ),
    "an archive in a zip, twice": (
        lambda f: bytes(zipped({WEIGHTS: zipped({WEIGHTS: tar(f)})})),
        "is missing",
    ),
    "a gzip in a gzip": (lambda f: gzip.compress(tar(f)), "neither a tar"),
    "folders": (folders, "damaged"),
    "global headers": (global_headers, "damaged"),
    "a sparse file by extended header": (sparse_tar, "sparse"),
    "a sparse file of blocks without end": (sparse_blocks_without_end, "damaged"),
    "long names of long names": (long_names_of_long_names, "damaged"),
    "a huge size in an extended header": (lambda f: plain_tar(f, size="9" * 30), "damaged"),
    "a negative size in an extended header": (lambda f: plain_tar(f, size="-1024"), "not of the size"),
    "a path out of an extended header": (lambda f: plain_tar(f, path="../../evil"), "leads out"),
    "a long name that ends in .bin": (lambda f: plain_tar(f | {"x" * 500_000 + ".bin": b""}), "run code"),
    "a name that turns the text around": (lambda f: tar(f | {"\u202enosj.gifnoc": b""}), "characters"),
    "a name that is no text": (lambda f: tar(f | {"\udcff.bin": b""}), "characters"),
    "a name with an end in it": (lambda f: plain_tar(f, path=f"{CONFIG}\0.bin"), "characters"),
    "a zip's name with an end in it": (
        lambda f: bytes(zipped({"aaaaa": b""} | f)).replace(b"aaaaa", b"../a\0"),
        "leads out",
    ),
    "a zip's name that is none": (
        lambda f: bytes(zipped({"aaaaa": b""} | f)).replace(b"aaaaa", b"\0aaaa"),
        "has no name",
    ),
    "a file that is called like its folder": (lambda f: plain_tar({".": b""} | f), "has no name"),
    "a size that is too small": (zip_that_says(24, (10).to_bytes(4, "little")), "damaged"),
    "a size that is too large": (zip_that_says(24, (200_000).to_bytes(4, "little")), "not of the size"),
    "a packed size that is too large": (zip_that_says(20, (200_000).to_bytes(4, "little")), "not its own"),
    "a place behind the end": (zip_that_says(42, b"\xff\xff\xff\x7f"), "not its own"),
    "another checksum": (zip_that_says(16, b"\1\2\3\4"), "damaged"),
    "one content under two names": (one_content_under_two_names, "damaged"),
    "a device in a zip": (zip_of_device, "a device"),
    "a folder of our file's name": (
        lambda f: bytes(zipped({f"{CONFIG}/{CONFIG}": b"{}"} | f)),
        "one flat folder",
    ),
}


async def test_archives_that_mean_harm_are_refused(home: House) -> None:
    for kind, (harm, why) in ARCHIVES.items():
        error = await refused(home, kind, content=harm(home.files()))
        assert why in error["message"], kind


async def test_names_that_only_look_like_ours_are_passed_over(home: House) -> None:
    alike = [CONFIG.upper(), CONFIG.replace("a", "\uff41"), CONFIG.replace("a", "\u0430"), f"{CONFIG}."]
    sent = tar(
        {name: b"[]" for name in alike}
        | home.files()
        | {name: b"[]" for name in (f"{CONFIG}~", f" {CONFIG}")}
    )
    version = await home.send(sent)
    artifact = await home.control.store.files(version["artifact_digest"])
    assert artifact.files == {name: len(content) for name, content in home.files().items()}


async def test_a_zip_that_tells_its_sizes_behind_its_files_is_taken(home: House) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise io.UnsupportedOperation

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in home.files().items():
            archive.writestr(name, content)
    assert b"PK\7\x08" in out.getvalue()
    await home.send(out.getvalue())


# ----------------------------------------------------------------------------------------------------------- weights


def weights_of(header: Any, body: bytes = b"") -> bytes:
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + body


def tensor(
    start: int = 0, end: int = 128, dtype: str = "F32", shape: tuple[int, ...] = (4, 8)
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def named_twice() -> bytes:
    """Good weights, and the last name once more."""
    made = save({f"{FIRST}.lora_A.weight": np.ones((4, 8), np.float32)})
    length = int.from_bytes(made[:8], "little")
    header = made[8 : 8 + length].strip()
    return weights_of(header[:-1] + b"," + header[1:], made[8 + length :])


BROKEN: Mapping[str, bytes] = {
    "a header longer than the file": (2**62).to_bytes(8, "little") + b"{}",
    "a header of 100 megabytes": weights_of({"__metadata__": {"x": "y" * 40 * MIB}}),
    "a hundred thousand tensors": weights_of(
        {f"t{'x' * 100}{n}": tensor(0, 0, shape=(0,)) for n in range(110_000)}
    ),
    "no header": b"",
    "a header that is no object": weights_of([]),
    "deep metadata": weights_of(b'{"__metadata__":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
    "tensors that overlap": weights_of({"a": tensor(), "b": tensor(64, 192)}, bytes(192)),
    "a hole": weights_of({"a": tensor(), "b": tensor(256, 384)}, bytes(384)),
    "an end before its start": weights_of({"a": tensor(128, 0)}, bytes(128)),
    "more than the file": weights_of({"a": tensor()}, bytes(64)),
    "less than the file": weights_of({"a": tensor()}, bytes(256)),
    "a shape that overflows": weights_of({"a": tensor(shape=(2**63, 2**63))}, bytes(128)),
    "numbers beyond": weights_of({"a": tensor(end=2**70)}, bytes(128)),
    "eight bits": weights_of({f"{FIRST}.lora_A.weight": tensor(0, 32, "F8_E4M3")}, bytes(32)),
    "whole numbers": weights_of({f"{FIRST}.lora_A.weight": tensor(dtype="I32")}, bytes(128)),
    "an unknown type": weights_of({"a": tensor(dtype="F3")}, bytes(128)),
    "a name of a megabyte": weights_of({"x" * MIB: tensor()}, bytes(128)),
    "a name twice": named_twice(),
    "a name that is no text": weights_of(
        b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)
    ),
}


async def test_weights_that_mean_harm_are_refused(home: House) -> None:
    for kind, weights in BROKEN.items():
        await refused(home, kind, content=plain_tar(home.files() | {WEIGHTS: weights}))


async def test_a_tensor_that_is_named_twice_is_refused_for_that(home: House) -> None:
    error = await refused(home, "twice", content=tar(home.files() | {WEIGHTS: named_twice()}))
    assert "twice" in error["message"]


# ----------------------------------------------------------------------------------------------------- configuration


def with_setting(name: str, value: str) -> Callable[[bytes], bytes]:
    """value: as it stands in the file."""

    def made(config: bytes) -> bytes:
        settings = json.loads(config)
        settings.pop(name, None)
        return json.dumps(settings)[:-1].encode() + f', "{name}": {value}}}'.encode()

    return made


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


CONFIGS: Mapping[str, Callable[[bytes], bytes]] = {
    "alpha is no number": with_setting("lora_alpha", "NaN"),
    "alpha without end": with_setting("lora_alpha", "Infinity"),
    "alpha beyond": with_setting("lora_alpha", "1e999"),
    "alpha of 400 digits": with_setting("lora_alpha", "9" * 400),
    "a rank of 400 digits": with_setting("r", "9" * 400),
    "a rank of 10,000 digits": with_setting("r", "9" * 10_000),
    "a rank that is no number": with_setting("rank_pattern", '{"up_proj": NaN}'),
    "a setting that nobody reads is no number": with_setting("lora_dropout", "NaN"),
    "a setting that nobody reads is too deep": with_setting("anything", nested(300)),
    "a kind too deep to be shown": with_setting("peft_type", nested(980)),
    "a kind of 200,000 letters": with_setting("peft_type", json.dumps("L" * 200_000)),
    "a base too deep to be shown": with_setting("base_model_name_or_path", nested(980)),
    "a base that is no name": with_setting("base_model_name_or_path", '{"a": 1}'),
    "a module of 200,000 letters": with_setting("target_modules", json.dumps(["x" * 200_000])),
    "a module that is no text": with_setting("target_modules", '["\\ud800"]'),
    "a layer far away": with_setting("layers_to_transform", f"[{'9' * 30}]"),
    "an initialisation of 200,000 letters": with_setting("init_lora_weights", json.dumps("p" * 200_000)),
    "a mark at the beginning": lambda config: b"\xef\xbb\xbf" + config,
}


async def test_configurations_that_mean_harm_are_refused(home: House) -> None:
    for kind, spoil in CONFIGS.items():
        files = home.files()
        await refused(home, kind, content=tar(files | {CONFIG: spoil(files[CONFIG])}))


LINEAGES = {
    "no number": '{"recipe": {"rate": NaN}}',
    "a number without end": '{"recipe": {"rate": 1e999}}',
    "no text": '{"version": "\\ud800"}',
    "an end in the text": '{"version": "\\u0000"}',
    "too deep": f'{{"gate": {nested(300)}}}',
    "deeper": f'{{"recipe": {{"a": {nested(985)}}}}}',
    "a key twice": '{"recipe": {}, "recipe": {"a": 1}}',
    "a digest that is a list": '{"base_digest": []}',
    "a recipe that is text": '{"recipe": "x"}',
}


async def test_a_lineage_that_could_not_be_shown_again_is_refused(home: House) -> None:
    for kind, told in LINEAGES.items():
        await refused(home, kind, content=tar(home.files() | {"lineage.json": told.encode()}))


async def test_a_lineage_of_large_numbers_can_be_shown_again(home: House) -> None:
    told = {"recipe": {"seed": 10**40}}
    await home.send(tar(home.files() | {"lineage.json": json.dumps(told).encode()}))
    (version,) = (await home.call("GET", "/versions"))["data"]
    assert version["lineage"]["recipe"] == {"seed": 10**40}


# ----------------------------------------------------------------------------------------------------------- folders


def link(folder: Path) -> None:
    (folder / CONFIG).rename(folder / "real.json")
    (folder / CONFIG).symlink_to("real.json")


def dangling(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("/nowhere")


def inner_folder(folder: Path) -> None:
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()


def listener(folder: Path) -> None:
    (folder / CONFIG).unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(folder / CONFIG))


def hole(folder: Path) -> None:
    """A file of a terabyte that takes no room."""
    os.truncate(folder / WEIGHTS, 1024**4)


def unreadable_name(folder: Path) -> None:
    Path(os.fsdecode(bytes(folder) + b"/\xff.bin")).write_bytes(b"")


FOLDERS: Mapping[str, tuple[Callable[[Path], None], int]] = {
    "a link": (link, 400),
    "a link to nothing": (dangling, 400),
    "a folder of our file's name": (inner_folder, 400),
    "a socket": (listener, 400),
    "a terabyte of nothing": (hole, 413),
    "a pickle whose name is no text": (unreadable_name, 400),
}


async def test_folders_that_mean_harm_are_refused(home: House) -> None:
    for number, (kind, (spoil, status)) in enumerate(FOLDERS.items()):
        folder = write_adapter(home.directory / "shared" / str(number), home.base, 1, rank=4)
        spoil(folder)
        await refused(home, kind, status, json={"uri": folder.as_uri()})
