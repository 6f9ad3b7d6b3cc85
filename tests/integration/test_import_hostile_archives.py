"""Archives that mean harm, or only look like it, through the admin API."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping

from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS
from tests.integration.transfer_house import House, plain_tar, tar

Files = dict[str, bytes]
Harm = Callable[[Files], bytes]


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
        error = await home.refused(kind, content=harm(home.files()))
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
