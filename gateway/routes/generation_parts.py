"""What the endpoints that generate text work with."""

from dataclasses import dataclass

from gateway.admission import Admissions
from gateway.context import ContextSource
from gateway.demand import Demand
from gateway.key_use import KeyUse
from gateway.leases import Leases
from gateway.proxy import Proxy
from gateway.response_store import ResponseStore
from gateway.shadows import Shadows
from gateway.snapshot import CurrentSnapshot
from gateway.telemetry import Telemetry
from gateway.tracing import Tracing
from training.journal import JournalWriter


@dataclass(frozen=True)
class GenerationParts:
    """keep_alive_s: longest silence of a stream towards the client."""

    current: CurrentSnapshot
    admissions: Admissions
    contexts: ContextSource
    proxy: Proxy
    leases: Leases
    demand: Demand
    journal: JournalWriter
    telemetry: Telemetry
    responses: ResponseStore
    uses: KeyUse
    tracing: Tracing
    shadows: Shadows
    max_body_bytes: int
    keep_alive_s: float
