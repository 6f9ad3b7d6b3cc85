"""Which version answers a request. Pure: names, a tenant's view and whose request it is in, a route out.

Only the tenant's own adapters are ever looked at, so another tenant's name is as unknown as one that nobody
has.
"""

import hashlib
from typing import NamedTuple

from adapters.types import BASE_NAME, AdapterRoutes, Alias, RolloutKind, Split
from gateway.errors import ModelNotFound
from gateway.snapshot import TenantView

NO_ADAPTER = "none"
PINNED = "pinned"
"""The arm of a request that asked for a version by number."""


class Route(NamedTuple):
    """Fixed when the request is routed: it finishes on this version whatever moves meanwhile."""

    adapter: str
    """Which adapter's record the request belongs to; the base model's requests belong to the default one."""
    version_id: str | None
    """None: the base model alone."""
    label: str
    """What the tenant is told: `support@v7`, or a base model's name."""
    arm: str
    rollout: str | None = None
    """The rollout, and its step, that drew the version."""
    draw: float | None = None
    base: str = BASE_NAME
    """Name of the base model, whose replicas the request goes to."""

    @property
    def engine_model(self) -> str:
        """The name inside the engine."""
        return self.version_id or BASE_NAME


def sticky_key(session_id: str | None, user: object, token: str) -> str:
    """Whose request it is: a session's, else a user's, else nobody's but its own."""
    if session_id:
        return f"session:{session_id}"
    return f"user:{user}" if isinstance(user, str) and user else f"request:{token}"


def drawn(split: Split, sticky: str) -> float:
    """From 0 to 1, the same for one key throughout a rollout and unrelated between rollouts."""
    digest = hashlib.sha256(f"{split.rollout_id}\n{sticky}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


def route(
    tenant: TenantView, model: str, adapter_header: str | None = None, sticky: str | None = None
) -> Route:
    """The version that a request asks for.

    model: `base` or another base model's name, `<adapter>`, `<adapter>@v7` or `<adapter>@candidate`.
    adapter_header: `X-Adapter`, which has the same forms, or is `none` for the base model of what `model` names. It
    wins.
    sticky: whose request it is, for a rollout's draw; None: what an adapter's name stands for without one.

    Raises ModelNotFound.
    """
    name = adapter_header or model
    if name == BASE_NAME:
        return _bare(tenant, BASE_NAME)
    if adapter_header == NO_ADAPTER:
        return _bare(tenant, _base_of(tenant, model))
    adapter_name, at, which = name.partition("@")
    adapter = tenant.adapters.get(adapter_name)
    if adapter is None:
        if name in tenant.bases:
            return _bare(tenant, name)
        raise _not_found(name)
    if at and which not in (Alias.STABLE.value, Alias.CANDIDATE.value):
        return _pinned(adapter, name, which)
    split = adapter.split
    if not at and sticky is not None and split is not None and split.version_id in adapter.numbers:
        return _split(adapter, split, sticky)
    return _aliased(adapter, name, Alias(which) if at else Alias.STABLE)


def _bare(tenant: TenantView, base: str) -> Route:
    return Route(tenant.bases[base], None, base, Alias.STABLE.value, base=base)


def _base_of(tenant: TenantView, model: str) -> str:
    """The first base model for a name that says nothing of another."""
    adapter = tenant.adapters.get(model.partition("@")[0])
    named = adapter.base if adapter else model
    return named if named in tenant.bases else BASE_NAME


def _split(adapter: AdapterRoutes, split: Split, sticky: str) -> Route:
    """A shadow's prompts are drawn later, off the request's path."""
    if split.kind is RolloutKind.SHADOW:
        return _aliased(adapter, adapter.name, Alias.STABLE)
    draw = drawn(split, sticky)
    candidate = draw < split.share
    if split.kind is RolloutKind.AB:
        version_id, arm = (split.version_id, "b") if candidate else (split.against_id, "a")
    else:
        alias = Alias.CANDIDATE if candidate else Alias.STABLE
        version_id = split.version_id if candidate else adapter.aliases.get(Alias.STABLE)
        arm = alias.value
    if version_id is not None and version_id not in adapter.numbers:
        return _aliased(adapter, adapter.name, Alias.STABLE)
    label = _label(adapter, version_id)
    return Route(adapter.name, version_id, label, arm, split.reference, draw, adapter.base)


def _aliased(adapter: AdapterRoutes, name: str, alias: Alias) -> Route:
    """An adapter without a stable version serves the base model; one without a candidate has no
    `@candidate`."""
    version_id = adapter.aliases.get(alias)
    if version_id is None and alias is Alias.CANDIDATE:
        raise _not_found(name)
    return Route(adapter.name, version_id, _label(adapter, version_id), alias.value, base=adapter.base)


def _pinned(adapter: AdapterRoutes, name: str, which: str) -> Route:
    number = which[1:]
    known = which.startswith("v") and number.isascii() and number.isdigit() and len(number) < 10
    version_id = adapter.versions.get(int(number)) if known else None
    if version_id is None:
        raise _not_found(name)
    return Route(adapter.name, version_id, _label(adapter, version_id), PINNED, base=adapter.base)


def _label(adapter: AdapterRoutes, version_id: str | None) -> str:
    return f"{adapter.name}@v{adapter.numbers[version_id]}" if version_id else adapter.base


def _not_found(name: str) -> ModelNotFound:
    message = f"The model `{name[:200]}` does not exist or you do not have access to it."
    return ModelNotFound(message, param="model")
