"""What an import is refused for, with the reason, through the admin API."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS
from tests.integration.random_adapters import write_adapter
from tests.integration.transfer_house import FIRST, SECOND, House, tar


@pytest.fixture
def import_max_bytes() -> int:
    return 1024**2


Spoil = Callable[[dict[str, bytes]], object]


def config(**changes: Any) -> Spoil:
    return lambda files: files.update({CONFIG: json.dumps(json.loads(files[CONFIG]) | changes).encode()})


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Spoil:
    def spoil(files: dict[str, bytes]) -> None:
        made = {}
        for module in (FIRST, SECOND):
            made[f"{module}.lora_A.weight"] = np.ones((4, 8), np.float32)
            made[f"{module}.lora_B.weight"] = np.ones((16, 4), np.float32)
        change(made)
        files[WEIGHTS] = save(made)

    return spoil


def zero(*names: str) -> Spoil:
    return tensors(lambda made: [made[f"{name}.weight"].fill(0) for name in names])


REFUSED: dict[str, tuple[Spoil, str | None]] = {
    "pickle": (lambda f: f.update({"adapter_model.bin": b"\x80\x04."}), "adapter_model.bin"),
    "pickle under a safe name": (lambda f: f.update({WEIGHTS: b"\x80\x04."}), WEIGHTS),
    "escape": (lambda f: f.update({"../evil": b""}), "'../evil'"),
    "not UTF-8": (lambda f: f.update({CONFIG: b'{"r": "\xff"}'}), CONFIG),
    "UTF-16": (lambda f: f.update({CONFIG: f[CONFIG].decode().encode("utf-16")}), CONFIG),
    "deep": (lambda f: f.update({CONFIG: b"[" * 100_000}), CONFIG),
    "large": (lambda f: f.update({CONFIG: b" " * 300_000 + f[CONFIG]}), CONFIG),
    "a setting twice": (lambda f: f.update({CONFIG: b'{"r": 1, "r": 2}'}), CONFIG),
    "no configuration": (lambda f: f.pop(CONFIG), CONFIG),
    "no weights": (lambda f: f.pop(WEIGHTS), WEIGHTS),
    "another base by name": (config(base_model_name_or_path="org/other"), "base_model_name_or_path"),
    "another base by digest": (
        lambda f: f.update({"lineage.json": json.dumps({"base_digest": "sha256:" + "0" * 64}).encode()}),
        None,
    ),
    "a lineage that is none": (lambda f: f.update({"lineage.json": b"[]"}), "lineage.json"),
    "rank": (config(r=64), "r"),
    "DoRA": (config(use_dora=True), "use_dora"),
    "PiSSA": (config(init_lora_weights="pissa"), "init_lora_weights"),
    "modules_to_save": (config(modules_to_save=["lm_head"]), "modules_to_save"),
    "unknown module": (config(target_modules=["gate_up"]), "target_modules"),
    "a rank by regular expression": (config(rank_pattern={"(a+)+": 2}), "rank_pattern"),
    "another size": (
        tensors(lambda t: t.update({f"{FIRST}.lora_A.weight": np.ones((4, 9), np.float32)})),
        f"{FIRST}.lora_A.weight",
    ),
    "NaN": (tensors(lambda t: t[f"{FIRST}.lora_A.weight"].put(0, np.nan)), f"{FIRST}.lora_A.weight"),
    "infinity": (tensors(lambda t: t[f"{FIRST}.lora_B.weight"].put(0, np.inf)), f"{FIRST}.lora_B.weight"),
    "missing tensor": (tensors(lambda t: t.pop(f"{FIRST}.lora_B.weight")), f"{FIRST}.lora_B.weight"),
    "extra tensor": (tensors(lambda t: t.update(extra=np.ones(1, np.float32))), "extra"),
    "every B is zero": (zero(f"{FIRST}.lora_B", f"{SECOND}.lora_B"), WEIGHTS),
    "every A is zero": (zero(f"{FIRST}.lora_A", f"{SECOND}.lora_A"), WEIGHTS),
    "A and B in different layers": (zero(f"{FIRST}.lora_A", f"{SECOND}.lora_B"), WEIGHTS),
    "too large": (lambda f: f.update({"notes.txt": np.random.default_rng(0).bytes(1_100_000)}), "file"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_refused_adapter_is_told_why_and_leaves_nothing(home: House, kind: str) -> None:
    spoil, param = REFUSED[kind]
    files = home.files()
    spoil(files)
    response = await home.admin.post("/admin/v1/tenants/acme/adapters/default/versions", content=tar(files))
    wanted = {"another base by digest": 409, "too large": 413}.get(kind, 400)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (wanted, param), error
    assert home.left() == []
    assert (await home.call("GET", "/versions"))["data"] == []


async def test_a_wrong_digest_is_refused(home: House) -> None:
    headers = {"x-graft-digest": "sha256:" + "0" * 64}
    answer = await home.send(tar(home.files()), 400, headers=headers)
    assert answer["error"]["param"] == "digest"
    assert home.left() == []


async def test_a_base_model_under_another_name_can_be_accepted(home: House) -> None:
    files = home.files()
    config(base_model_name_or_path="org/other")(files)
    await home.send(tar(files), 201, params={"accept_base": True})


async def test_a_folder_is_imported_from_an_allowed_place_only(home: House) -> None:
    write_adapter(home.directory / "shared" / "one", home.base, 1, rank=4)
    write_adapter(home.directory / "secret" / "two", home.base, 2, rank=4)
    (home.directory / "shared" / "link").symlink_to(home.directory / "secret" / "two")
    uri = (home.directory / "shared" / "one").as_uri()
    version = await home.call("POST", "/versions", 201, json={"uri": uri})
    assert version["lineage"]["source"] == uri
    for place in ("secret/two", "shared/link"):
        body = {"uri": f"{home.directory.as_uri()}/{place}"}
        answer = await home.call("POST", "/versions", 400, json=body)
        assert "GRAFT_IMPORT_SOURCES" in answer["error"]["message"]


async def test_an_upload_that_breaks_off_leaves_nothing(home: House) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield tar(home.files())[:100]
        raise ConnectionError

    with contextlib.suppress(ConnectionError):
        await home.send(broken(), 500)
    assert home.left() == []
