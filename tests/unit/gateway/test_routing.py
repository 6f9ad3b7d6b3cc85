from dataclasses import replace

import pytest

from gateway.errors import ModelNotFound
from gateway.routing import route
from tests.unit.gateway.worlds import adapter, tenant

ACME = tenant(
    "acme",
    adapter("ten_acme", stable="ver_1", v1="ver_1", v2="ver_2"),
    adapter("ten_acme", "support"),
)


def test_the_base_model_has_no_version() -> None:
    chosen = route(ACME, "base")
    assert (chosen.engine_model, chosen.label, chosen.adapter) == ("base", "base", "default")


def test_an_adapter_serves_its_stable_version() -> None:
    chosen = route(ACME, "default")
    assert (chosen.engine_model, chosen.label, chosen.arm) == ("ver_1", "default@v1", "stable")


def test_an_adapter_without_a_stable_version_serves_the_base_model() -> None:
    chosen = route(ACME, "support")
    assert (chosen.engine_model, chosen.label, chosen.adapter) == ("base", "base", "support")


def test_a_version_can_be_pinned() -> None:
    chosen = route(ACME, "default@v2")
    assert (chosen.version_id, chosen.arm) == ("ver_2", "pinned")


def test_the_candidate_can_be_asked_for() -> None:
    chosen = route(ACME, "default@candidate")
    assert (chosen.version_id, chosen.arm) == ("ver_2", "candidate")


def test_the_adapter_header_wins_over_the_model() -> None:
    assert route(ACME, "base", "default@v2").version_id == "ver_2"


def test_the_header_none_means_the_base_model() -> None:
    assert route(ACME, "default", "none").version_id is None


STRANGE = (
    "none other default@v3 default@v default@2 default@ default@v² support@candidate ver_1 default@v1@v2 @v1"
)


@pytest.mark.parametrize("name", [*STRANGE.split(), "default@v99999999999999999999"])
def test_what_the_tenant_does_not_have_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound):
        route(ACME, name)


def test_another_tenants_adapter_is_as_unknown_as_nobodys() -> None:
    globex = tenant("globex", adapter("ten_globex", "secret", stable="ver_9", v1="ver_9"))
    messages = []
    for view in (ACME, tenant("nobody")):
        with pytest.raises(ModelNotFound) as error:
            route(view, "secret")
        messages.append(error.value.message)
    assert route(globex, "secret").version_id == "ver_9"
    assert len(set(messages)) == 1


TWO_BASES = tenant(
    "acme",
    adapter("ten_acme", stable="ver_1", v1="ver_1"),
    replace(adapter("ten_acme", "big", stable="ver_2", v2="ver_2"), base="large"),
    replace(adapter("ten_acme", "bare"), base="large"),
    replace(adapter("ten_acme", "left", stable="ver_3", v1="ver_3"), base=""),
)


@pytest.mark.parametrize(
    ("model", "base", "version_id"),
    [
        ("default", "base", "ver_1"),
        ("big", "large", "ver_2"),
        ("big@v2", "large", "ver_2"),
        ("bare", "large", None),
        ("large", "large", None),
        ("base", "base", None),
    ],
)
def test_a_request_goes_to_its_adapters_base_model(model: str, base: str, version_id: str | None) -> None:
    chosen = route(TWO_BASES, model)
    assert (chosen.base, chosen.version_id) == (base, version_id)


def test_what_a_base_model_answers_alone_is_told_by_its_name() -> None:
    assert (route(TWO_BASES, "large").label, route(TWO_BASES, "bare").label) == ("large", "large")


def test_inside_its_engines_every_base_model_has_the_same_name() -> None:
    assert route(TWO_BASES, "large").engine_model == route(TWO_BASES, "base").engine_model


def test_requests_by_a_base_models_name_belong_to_an_adapter_of_it() -> None:
    assert (route(TWO_BASES, "large").adapter, route(TWO_BASES, "base").adapter) == ("bare", "default")


def test_the_header_none_means_the_base_model_of_what_is_asked_for() -> None:
    named = {model: route(TWO_BASES, model, "none").base for model in ("big@v2", "large", "default", "gpt-4")}
    assert named == {"big@v2": "large", "large": "large", "default": "base", "gpt-4": "base"}


def test_a_base_model_of_which_the_tenant_has_no_adapter_is_not_found() -> None:
    with pytest.raises(ModelNotFound):
        route(ACME, "large")


def test_a_base_model_that_no_engine_holds_cannot_be_asked_by_any_name() -> None:
    assert set(TWO_BASES.bases) == {"base", "large"}
    with pytest.raises(ModelNotFound):
        route(TWO_BASES, "")


def test_a_tenants_own_adapter_goes_before_a_base_model_of_the_same_name() -> None:
    both = tenant(
        "acme",
        adapter("ten_acme"),
        adapter("ten_acme", "large", stable="ver_1", v1="ver_1"),
        replace(adapter("ten_acme", "big"), base="large"),
    )
    assert route(both, "large").version_id == "ver_1"
