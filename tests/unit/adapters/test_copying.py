"""Copies out of stores, in the process itself; what hangs there is ended in tests/integration/test_import_bounds.py."""

import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.copying import copy, translated
from adapters.errors import AdapterTooLarge, InvalidAdapter, SourceRefused
from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "shared" / "adapter"
    place.mkdir(parents=True)
    for name in (CONFIG, WEIGHTS, "README.md"):
        (place / name).write_bytes(b"x" * 10)
    return place


def copied(source: Path, target: Path, limit: int = 100) -> Path:
    copy(source.as_uri(), target, limit, [str(target.parent / "shared")])
    return target


def test_a_folder_comes_with_what_an_import_keeps(folder: Path, tmp_path: Path) -> None:
    assert {path.name for path in copied(folder, tmp_path / "to").iterdir()} == {CONFIG, WEIGHTS}


def test_a_file_comes_as_one(folder: Path, tmp_path: Path) -> None:
    assert copied(folder / WEIGHTS, tmp_path / "to").read_bytes() == b"x" * 10


def test_the_bound_is_on_all_files_together(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterTooLarge):
        copied(folder, tmp_path / "to", limit=19)


def test_a_link_inside_of_a_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to(WEIGHTS)
    with pytest.raises(InvalidAdapter, match="plain files"):
        copied(folder, tmp_path / "to")


def test_a_path_that_a_link_leads_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceRefused, match="over a link"):
        copied(folder / "link", tmp_path / "to")


def test_links_in_a_circle_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    with pytest.raises(SourceRefused, match="cannot be read"):
        copied(folder / "a", tmp_path / "to")


def test_a_scheme_whose_package_is_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="cannot be read"):
        copy("nothing://place/file", tmp_path / "to", 100, [])


@pytest.mark.parametrize(("scheme", "named"), [("s3", "AWS_CA_BUNDLE"), ("https", "SSL_CERT_FILE")])
def test_a_certificate_that_is_not_trusted_names_the_setting_of_its_scheme(scheme: str, named: str) -> None:
    with pytest.raises(SourceRefused, match=f"{named} may name"), translated(scheme):
        flaw = ssl.SSLCertVerificationError()
        flaw.verify_message = "self-signed certificate"
        raise OSError from flaw


def test_a_copy_that_nobody_ends_ends_by_itself(tmp_path: Path) -> None:
    order = json.dumps({"uri": "", "target": str(tmp_path / "to"), "limit": 1, "folders": [], "seconds": 0.5})
    program = (
        "import time; from adapters import copying; copying.copy = lambda *_: time.sleep(60); copying.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], input=order, text=True, timeout=50, check=False)
    assert done.returncode == -signal.SIGALRM
