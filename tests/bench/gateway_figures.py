"""The gateway's figures and their targets. Pure: what was measured in, figures out."""

from collections.abc import Sequence

from tests.bench.measure import Measured
from tests.bench.peers import FASTAPI
from tests.bench.report import Figure


def figures_of(direct: Measured, ours: Measured, others: Sequence[Measured]) -> list[Figure]:
    """direct: the stub asked without a proxy; what it takes is taken off every latency that is called added."""
    by_name = {each.name: each for each in others}
    base = by_name.get(FASTAPI)
    return [
        *_own(direct, ours, base),
        *[figure for each in others for figure in _against(ours, each)],
        Figure("requests/s, 64 connections, no proxy", direct.per_second),
        Figure("chunk delay p99, no proxy", direct.chunk_p99, "ms"),
        Figure("wrong answers", ours.wrong, target=0),
    ]


def _own(direct: Measured, ours: Measured, base: Measured | None) -> list[Figure]:
    name = base.name if base else ""

    def added(field: str, of: Measured | None) -> float | None:
        there, here = (getattr(of, field), getattr(direct, field)) if of else (None, None)
        return there - here if there is not None and here is not None else None

    def compared(title: str, field: str, unit: str, target: float) -> Figure:
        own = added(field, ours)
        return Figure(title, float("inf") if own is None else own, unit, added(field, base), name, target)

    return [
        Figure("requests/s, 64 connections", ours.per_second, target=5000, at_most=False),
        compared("p50 added, 1 connection", "p50_alone", "ms", 0.6),
        compared("p99 added, 500 requests/s", "p99_open", "ms", 3.0),
        compared("added time to first token, p50", "first_chunk_p50", "ms", 1.0),
        Figure("time to first token after a silence, p50", ours.first_chunk_silent or float("inf"), "ms"),
        Figure("chunk delay p99, 500 streams", ours.chunk_p99, "ms", base and base.chunk_p99, name, 20.0),
        Figure(
            "chunks/s of 25,000, 500 streams",
            ours.chunks_per_second,
            "",
            base and base.chunks_per_second,
            name,
        ),
        Figure("start to ready", ours.ready_s, "s", base and base.ready_s, name, 2.0),
    ]


REQUESTS_RATIO = {FASTAPI: 10.0, "litellm": 40.0, "sglang-router": 1.0}
"""Least requests/s as a multiple of the peer's."""
CHUNKS_RATIO = {"sglang-router": 1.0, "vllm-router": 0.5}
"""Least chunks for a second of processor time, as a multiple of the peer's."""
P50_RATIO = {"vllm-router": 2.0}
"""Largest p50 of a request at one connection, upstream included, as a multiple of the peer's."""


def _against(ours: Measured, peer: Measured) -> list[Figure]:
    name = peer.name
    lower = {"at_most": False, "of_ratio": True}
    return [
        Figure("requests/s", ours.per_second, "", peer.per_second, name, REQUESTS_RATIO.get(name), **lower),
        Figure(
            "p50, 1 connection",
            ours.p50_alone,
            "ms",
            peer.p50_alone,
            name,
            P50_RATIO.get(name),
            of_ratio=True,
        ),
        Figure(
            "chunks/s per core",
            ours.chunks_per_core,
            "",
            peer.chunks_per_core,
            name,
            CHUNKS_RATIO.get(name),
            **lower,
        ),
    ]
