"""What admin routes ask for: the collaborators, proof that the operator is asking, and a page's bounds."""

import hmac
from typing import Annotated

from fastapi import Depends, Query, Request

from gateway.control import Control
from gateway.errors import Unauthenticated
from gateway.keys import public_id_of


async def require_admin(request: Request) -> str:
    """The actor that the audit log names. Raises Unauthenticated."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    wanted: str = request.app.state.admin_key
    given = given.strip()
    if scheme.lower() != "bearer" or not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
        raise Unauthenticated("The admin API needs the admin key as a bearer token.")
    return f"admin:{public_id_of(given) or 'configured'}"


async def control_of(request: Request) -> Control:
    """What the process has put together at its start."""
    control: Control = request.app.state.control
    return control


Actor = Annotated[str, Depends(require_admin)]
Access = Annotated[Control, Depends(control_of)]
Limit = Annotated[int, Query(ge=1, le=200)]
Number = Annotated[int, Query(ge=0, lt=2**63)]
"""A row's, as SQL counts them."""
