"""Who is asking, and for which tenant. Pure: a snapshot and two headers in, a principal out."""

from datetime import datetime
from typing import NamedTuple

from gateway.errors import Forbidden, InvalidRequest, Unauthenticated
from gateway.keys import Key, Scope, matches, public_id_of
from gateway.snapshot import Snapshot, TenantView

BEARER = "bearer "


class Principal(NamedTuple):
    """A verified key and the one tenant it acts for."""

    key: Key
    tenant: TenantView

    def require(self, scope: Scope) -> None:
        """Raises Forbidden."""
        if scope not in self.key.scopes:
            raise Forbidden(f"This API key lacks the scope `{scope}`.")


def authenticate(
    snapshot: Snapshot, authorization: str | None, tenant_name: str | None, now: datetime
) -> Principal:
    """authorization: the header's value. tenant_name: the value of `X-Tenant-Id`.

    Raises Unauthenticated, and Forbidden or InvalidRequest for a tenant that the key cannot act for.
    """
    key = _verified(snapshot, authorization, now)
    if key.tenant_id is None:
        return Principal(key, _chosen(snapshot, tenant_name))
    tenant = snapshot.tenants.get(key.tenant_id)
    if tenant is None:
        raise Unauthenticated("Incorrect API key provided.")
    if tenant_name is not None and tenant_name not in (tenant.id, tenant.external_id):
        raise Forbidden("This API key may not act for that tenant.", param="X-Tenant-Id")
    return Principal(key, tenant)


def _verified(snapshot: Snapshot, authorization: str | None, now: datetime) -> Key:
    if not authorization or authorization[: len(BEARER)].lower() != BEARER:
        raise Unauthenticated("Send your API key in the header `Authorization: Bearer gk-…`.")
    secret = authorization[len(BEARER) :].strip()
    public_id = public_id_of(secret)
    key = snapshot.keys.get(public_id) if public_id else None
    if key is None or not matches(secret, key.digest) or key.expired(now):
        raise Unauthenticated("Incorrect API key provided.")
    return key


def _chosen(snapshot: Snapshot, tenant_name: str | None) -> TenantView:
    if not tenant_name:
        raise InvalidRequest("A platform key names its tenant in `X-Tenant-Id`.", param="X-Tenant-Id")
    tenant = snapshot.tenant_named(tenant_name)
    if tenant is None:
        raise Forbidden("This API key may not act for that tenant.", param="X-Tenant-Id")
    return tenant
