"""Copies out of stores, in the process itself; what hangs there is ended in tests/integration/test_import_bounds.py."""

from pathlib import Path

import pytest

from adapters.copying import copy
from adapters.errors import AdapterTooLarge, InvalidAdapter, SourceRefused

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


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
