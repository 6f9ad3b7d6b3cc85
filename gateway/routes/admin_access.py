"""What admin routes ask for: the collaborators, proof that the operator is asking, and a page's bounds."""

import hmac
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from pydantic import AfterValidator

from gateway.control import Control
from gateway.errors import InvalidRequest, Unauthenticated
from gateway.keys import public_id_of

MAX_DIGITS = 9
"""Of a revision, which the record counts with 32 bits."""


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


async def expected_revision(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """What the caller decided from, where it says so. Raises InvalidRequest."""
    if if_match is None:
        return None
    digits = if_match.strip().removeprefix("W/").strip('"')
    if not digits.isdecimal() or len(digits) > MAX_DIGITS:
        raise InvalidRequest("If-Match is a revision as it is shown, a number.", param="If-Match")
    return int(digits)


def in_utc(at: datetime) -> datetime:
    """Without a time zone it is in UTC already. Raises ValueError where UTC has no such moment."""
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("it is before the year 1 or after the year 9999 in UTC") from None


Actor = Annotated[str, Depends(require_admin)]
Access = Annotated[Control, Depends(control_of)]
Expected = Annotated[int | None, Depends(expected_revision)]
Moment = Annotated[datetime, AfterValidator(in_utc)]
Limit = Annotated[int, Query(ge=1, le=200)]
Number = Annotated[int, Query(ge=0, lt=2**63)]
"""A row's, as SQL counts them."""
