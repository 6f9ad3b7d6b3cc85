"""Base models beside the first one, as `GRAFT_MORE_BASES` names them: each with the replicas that hold it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from adapters.types import BASE_NAME, DEFAULT_ADAPTER

TAKEN = frozenset({BASE_NAME, DEFAULT_ADAPTER, "none"})
"""Names that mean something else in a request."""
BaseName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]


class Pool(BaseModel):
    """The replicas of one base model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: Path
    """Directory of the base model, absolute. Only control reads it."""
    engines: tuple[str, ...] = ()
    """URLs of the replicas, without a trailing slash; with `port`, of the one that it is for."""
    port: int | None = Field(None, ge=1, le=65535)
    """Of the engine that `graft up` starts on this machine. None: the replicas are started elsewhere."""


_POOLS = TypeAdapter(dict[BaseName, Pool])


def parse_pools(value: str, engines: Collection[str] = ()) -> Mapping[str, Pool]:
    """`{"large": {"model": "/models/large", "engines": ["http://gpu2:8000"]}}`, by the name that tenants use;
    or a `port` instead of `engines`.

    engines: URLs of the first base model's replicas. Raises ValueError.
    """
    try:
        read = _POOLS.validate_json(value or "{}")
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise ValueError(f"{where}: {problem['msg']}" if where else problem["msg"]) from error
    seen = set(engines)
    found: dict[str, Pool] = {}
    for name, pool in read.items():
        urls = tuple(url.strip().rstrip("/") for url in pool.engines)
        if name in TAKEN:
            raise ValueError(f"{name}: no base model can have this name")
        if not pool.model.is_absolute():
            raise ValueError(f"{name}.model: is not an absolute path")
        if bool(urls) == (pool.port is not None):
            raise ValueError(f"{name}: has either engines or the port of one that is started here")
        if pool.port is not None:
            urls = (local_engine(pool.port),)
        if len(set(urls)) < len(urls) or seen & set(urls):
            raise ValueError(f"{name}.engines: an engine holds one base model and is named once")
        seen |= set(urls)
        found[name] = Pool(model=pool.model, engines=urls, port=pool.port)
    return found


def local_engine(port: int) -> str:
    """URL of an engine that the supervisor starts."""
    return f"http://127.0.0.1:{port}"
