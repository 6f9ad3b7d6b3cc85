"""Configurations and lineages that mean harm, through the admin API."""

import json
from collections.abc import Callable, Mapping

from adapters.archives import LINEAGE
from adapters.peft_config import CONFIG
from tests.integration.transfer_house import House, tar


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
        await home.refused(kind, content=tar(files | {CONFIG: spoil(files[CONFIG])}))


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
        await home.refused(kind, content=tar(home.files() | {LINEAGE: told.encode()}))


async def test_a_lineage_of_large_numbers_can_be_shown_again(home: House) -> None:
    told = {"recipe": {"seed": 10**40}}
    await home.send(tar(home.files() | {LINEAGE: json.dumps(told).encode()}))
    (version,) = (await home.call("GET", "/versions"))["data"]
    assert version["lineage"]["recipe"] == {"seed": 10**40}
