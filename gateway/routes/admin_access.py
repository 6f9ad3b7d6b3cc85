"""What every admin route needs: the collaborators, and proof that the operator is asking."""

import hmac
from typing import Annotated

from fastapi import Depends, Request

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
