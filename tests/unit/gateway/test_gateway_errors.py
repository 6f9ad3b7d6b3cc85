from gateway.errors import GatewayError, ModelNotFound, RateLimited


def subclasses(kind: type[GatewayError]) -> list[type[GatewayError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in subclasses(child))]


def test_every_error_has_all_four_keys() -> None:
    for kind in subclasses(GatewayError):
        assert set(kind("message").body()["error"]) == {"message", "type", "param", "code"}


def test_whoever_is_to_come_back_is_told_when() -> None:
    for kind in subclasses(GatewayError):
        assert (kind.status in (429, 503)) == ("retry-after" in kind("message").headers())


def test_retry_after_is_rounded_up_for_those_who_read_seconds() -> None:
    assert RateLimited("slow down", retry_after_s=0.02).headers() == {
        "retry-after": "1",
        "retry-after-ms": "20",
    }


def test_a_parameter_is_named() -> None:
    assert ModelNotFound("no", param="model").body()["error"]["param"] == "model"
