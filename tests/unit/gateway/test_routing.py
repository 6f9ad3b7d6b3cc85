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
