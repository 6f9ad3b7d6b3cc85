"""Folders that mean harm, through the admin API."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS
from tests.integration.random_adapters import write_adapter
from tests.integration.transfer_house import House


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
        await home.refused(kind, status, json={"uri": folder.as_uri()})
