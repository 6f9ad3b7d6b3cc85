"""Loads and pins inside the engine, over a worker's memory without vLLM."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters import vllm_endpoints, vllm_residents
from adapters.errors import StoreUnavailable
from adapters.vllm_plugin import lora_state, pin_lora, unpin_lora
from adapters.vllm_residents import (
    FILES,
    PIN,
    STATE,
    UNPIN,
    NotLoaded,
    OtherFiles,
    Residents,
    TooManyPinned,
    keep_readable,
)

METHODS: Mapping[str, Callable[..., Any]] = {STATE: lora_state, PIN: pin_lora, UNPIN: unpin_lora}
SLOTS, CAPACITY = 2, 5


class Memory(dict[int, str]):
    """vLLM's cache of adapters, as far as pins go."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned_items: set[int] = set()

    def pin(self, number: int) -> None:
        self.pinned_items.add(number)


class Client:
    """vLLM's engine client in front of one worker."""

    def __init__(self) -> None:
        self.memory = memory = Memory()
        manager = SimpleNamespace(
            _registered_adapters=memory,
            list_adapters=lambda: dict(memory),
            lora_index_to_id=[None] * SLOTS,
            capacity=CAPACITY,
        )
        lora_manager = SimpleNamespace(_adapter_manager=manager)
        self._worker = SimpleNamespace(model_runner=SimpleNamespace(lora_manager=lora_manager))
        self.forgetful = False

    async def add_lora(self, request: Any) -> None:
        if not self.forgetful:
            self.memory[request.lora_int_id] = request.lora_name

    async def collective_rpc(self, method: str, args: tuple[int, ...] = ()) -> list[Any]:
        return [METHODS[method](self._worker, *args)]


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def residents(client: Client) -> Residents:
    """Of six versions whose names are known and of which memory holds none."""
    requests = {f"ver_{n}": SimpleNamespace(lora_int_id=n, lora_name=f"ver_{n}") for n in range(1, 7)}
    return Residents(SimpleNamespace(lora_requests=requests), client, SimpleNamespace())


async def pinned(residents: Residents) -> set[str | None]:
    return {each.name for each in (await residents.all()).versions if each.pinned}


async def test_a_version_is_pinned_in_memory_until_it_is_let_go(residents: Residents, client: Client) -> None:
    for _ in range(2):
        await residents.pin("ver_1")
    assert (await pinned(residents), client.memory) == ({"ver_1"}, {1: "ver_1"})
    for _ in range(2):
        await residents.unpin("ver_1")
    assert await pinned(residents) == set()


async def test_as_many_places_as_slots_stay_free_to_change(residents: Residents) -> None:
    for number in range(1, CAPACITY - SLOTS + 1):
        await residents.pin(f"ver_{number}")
    with pytest.raises(TooManyPinned, match="3 are pinned, of the 3 that may be"):
        await residents.pin("ver_6")
    await residents.pin("ver_1")
    await residents.unpin("ver_1")
    await residents.pin("ver_6")
    assert await pinned(residents) == {"ver_2", "ver_3", "ver_6"}


async def test_what_is_not_loaded_is_not_pinned(residents: Residents, client: Client) -> None:
    client.forgetful = True
    for name in ("ver_nowhere", "ver_1"):
        with pytest.raises(NotLoaded):
            await residents.pin(name)
    with pytest.raises(NotLoaded):
        await residents.unpin("ver_nowhere")


@pytest.mark.parametrize(("code", "status"), [(404, 503), (500, 500), (400, 400)])
async def test_files_that_vllm_does_not_find_are_a_matter_of_the_moment(
    monkeypatch: pytest.MonkeyPatch, code: int, status: int
) -> None:
    """404 would say that there is no plugin, 500 that the version is bad."""
    refused = SimpleNamespace(error=SimpleNamespace(code=code, message="No adapter found"))

    class Refusing(Residents):
        async def load(self, *_: Any) -> Any:
            return refused

    monkeypatch.setattr(
        vllm_endpoints, "import_module", lambda _: SimpleNamespace(LoadLoRAAdapterRequest=None)
    )
    plugin = vllm_endpoints.EnginePlugin()
    plugin._fetches, plugin._residents = True, Refusing(None, None, SimpleNamespace())  # type: ignore[arg-type]
    body = vllm_endpoints.Load(artifact_digest=f"sha256:{'0' * 64}")
    assert (await plugin._load("ver_1", body)).status_code == status


async def test_a_name_that_is_loaded_takes_no_other_files(client: Client) -> None:
    """Loading it again with its own is no error."""
    held = SimpleNamespace(lora_int_id=1, lora_name="ver_1", lora_path=f"/cache/{'a' * 64}")
    residents = Residents(SimpleNamespace(lora_requests={"ver_1": held}), client, SimpleNamespace())  # type: ignore[arg-type]
    assert await residents.load("ver_1", f"sha256:{'a' * 64}", None) is None
    with pytest.raises(OtherFiles, match="loaded with the files of sha256:aaa"):
        await residents.load("ver_1", f"sha256:{'b' * 64}", None)


class Models:
    """vLLM's, with one version whose files are in a directory that may go, and how often it was resolved."""

    def __init__(self, directory: Path) -> None:
        held = SimpleNamespace(lora_int_id=1, lora_name="ver_1", lora_path=str(directory))
        self.lora_requests: dict[str, Any] = {"ver_1": held}
        self.resolved = 0

    async def load_lora_adapter(self, _: Any) -> Any:
        return SimpleNamespace(error="already loaded") if "ver_1" in self.lora_requests else "loaded"

    async def resolve_lora(self, name: str) -> Any:
        self.resolved += 1
        if name in self.lora_requests:
            return self.lora_requests[name]
        return None

    async def asked(self) -> Any:
        """As vLLM goes about a request."""
        if "ver_1" in self.lora_requests:
            return self.lora_requests["ver_1"]
        return await self.resolve_lora("ver_1")


class Fetching:
    """A cache that writes the files again, when it can."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.away = False

    async def path_of(self, _name: str, _digest: str | None = None) -> Path:
        if self.away:
            raise StoreUnavailable("version ver_1", ConnectionError())
        self._directory.mkdir(exist_ok=True)
        for name in FILES:
            (self._directory / name).touch()
        return self._directory


@pytest.fixture
def unkept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look for files is at the disk."""
    monkeypatch.setattr(vllm_residents, "SEEN_S", 0.0)


@pytest.mark.usefixtures("unkept")
async def test_files_that_are_gone_are_fetched_before_a_request_is_taken(tmp_path: Path) -> None:
    models, cache = Models(tmp_path / "copy"), Fetching(tmp_path / "copy")
    held = models.lora_requests["ver_1"]
    keep_readable(models, cache)  # type: ignore[arg-type]
    for _ in range(2):
        assert await models.asked() is held
    assert models.resolved == 1
    (tmp_path / "copy" / FILES[1]).unlink()
    assert await models.asked() is held
    assert models.resolved == 2


async def test_a_version_whose_files_are_gone_for_good_is_unknown(tmp_path: Path) -> None:
    models, cache = Models(tmp_path / "copy"), Fetching(tmp_path / "copy")
    keep_readable(models, cache)  # type: ignore[arg-type]
    cache.away = True
    assert await models.asked() is None
    cache.away = False
    assert await models.asked() is not None


@pytest.mark.usefixtures("unkept")
async def test_a_version_whose_files_are_gone_is_listed_as_not_servable_until_it_is_loaded_again(
    tmp_path: Path, client: Client
) -> None:
    digest = "a" * 64
    models, cache = Models(tmp_path / digest), Fetching(tmp_path / digest)
    keep_readable(models, cache)  # type: ignore[arg-type]
    residents = Residents(models, client, cache)  # type: ignore[arg-type]

    async def servable() -> dict[str | None, bool]:
        return {each.name: each.servable for each in (await residents.all()).versions}

    assert await servable() == {"ver_1": False}
    assert await residents.load("ver_1", f"sha256:{digest}", SimpleNamespace) is None
    assert await servable() == {"ver_1": True}


async def test_a_name_whose_files_are_gone_takes_no_other_files(tmp_path: Path, client: Client) -> None:
    models, cache = Models(tmp_path / ("a" * 64)), Fetching(tmp_path / ("b" * 64))
    keep_readable(models, cache)  # type: ignore[arg-type]
    assert "ver_1" not in models.lora_requests
    with pytest.raises(OtherFiles, match="loaded with the files of sha256:aaa"):
        await Residents(models, client, cache).load("ver_1", f"sha256:{'b' * 64}", SimpleNamespace)  # type: ignore[arg-type]


def test_files_that_were_there_are_not_looked_for_again_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(vllm_residents, "time", SimpleNamespace(monotonic=lambda: now))
    models = Models(tmp_path)
    keep_readable(models, Fetching(tmp_path))  # type: ignore[arg-type]
    assert "ver_1" not in models.lora_requests
    for name in FILES:
        (tmp_path / name).touch()
    assert "ver_1" in models.lora_requests
    (tmp_path / FILES[0]).unlink()
    now += 0.9
    assert "ver_1" in models.lora_requests
    now += 0.1
    assert "ver_1" not in models.lora_requests
