"""Shadows: after a user got an answer, a candidate answers the same prompt, and nobody gets that.

A worker's shadows run one after the other behind everybody's requests; what cannot be answered then is left out.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from redis.exceptions import RedisError

from adapters.tasks import end
from adapters.types import RolloutKind, Split
from gateway.context import ContextSource
from gateway.errors import GatewayError
from gateway.exchange import Decided, Exchange
from gateway.flaws import flaw_of
from gateway.leases import Leases
from gateway.protocol import Names, engine_body, engine_error, new_id
from gateway.proxy import Call, Proxy
from gateway.routing import drawn
from gateway.shadow_counts import ShadowCounts
from gateway.turns import Turns
from training.journal import JournalWriter
from training.types import SHADOW, Interaction, Logging

log = logging.getLogger(__name__)

AT_ONCE = 1
"""Shadows that a worker runs at the same time."""


class Shadows:
    """One worker's."""

    def __init__(
        self,
        proxy: Proxy,
        contexts: ContextSource,
        turns: Mapping[str, Turns],
        leases: Leases,
        journal: JournalWriter,
        counts: ShadowCounts,
    ) -> None:
        """turns: by base model."""
        self._proxy = proxy
        self._contexts = contexts
        self._turns = turns
        self._leases = leases
        self._journal = journal
        self._counts = counts
        self._running: set[asyncio.Task[None]] = set()
        self._offered: Counter[str] = Counter()
        """Prompts by rollout that are not in the counts yet: they go there with the next answer."""

    async def close(self) -> None:
        await end(*self._running)

    def offer(self, exchange: Exchange, decided: Decided) -> None:
        """Perhaps shadow a request that has been answered. Takes no time."""
        adapter = decided.principal.tenant.adapters.get(decided.route.adapter)
        split = adapter.split if adapter else None
        if split is None or not self._wanted(split, exchange, decided):
            return
        self._offered[split.rollout_id] += 1
        if len(self._running) >= AT_ONCE:
            return
        task = asyncio.create_task(self._answer(split, exchange, decided), name="shadow")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _wanted(self, split: Split, exchange: Exchange, decided: Decided) -> bool:
        """Only answers whose text is kept can be compared; tests by name and the base model are no traffic."""
        return (
            split.kind is RolloutKind.SHADOW
            and decided.route.version_id == split.against_id
            and decided.request.model == decided.route.adapter
            and decided.principal.tenant.policy.logging is Logging.FULL
            and exchange.status == 200
            and bool(exchange.outcome.text)
            and drawn(split, exchange.token) < split.share
        )

    async def _answer(self, split: Split, exchange: Exchange, decided: Decided) -> None:
        """Only what was spent is counted, so that a worker that dies leaves nothing behind: a budget may be exceeded by
        one answer of each worker."""
        try:
            if await self._counts.spent(split.rollout_id) < (split.budget_tokens or 0):
                await self._count(split.rollout_id, await self._journaled(split, exchange, decided))
            else:  # until control has ended it
                self._offered.pop(split.rollout_id, None)
        except (RedisError, OSError) as error:
            log.info("what the shadow of req_%s costs cannot be counted: %s", exchange.token, error)

    async def _count(self, rollout_id: str, tokens: int) -> None:
        """With the prompts that were offered since the last time. Raises RedisError, OSError."""
        offered = self._offered.pop(rollout_id, 0)
        try:
            await self._counts.add(rollout_id, offered, tokens)
        except (RedisError, OSError):
            self._offered[rollout_id] += offered
            raise

    async def _journaled(self, split: Split, exchange: Exchange, decided: Decided) -> int:
        """What it took, in tokens; 0 where there is no answer."""
        estimate = decided.request.token_estimate
        self._leases.acquire(split.version_id)
        try:
            turns = self._turns[decided.route.base]
            place = await turns.enter_last(f"shadow:{decided.principal.tenant.id}")
            try:
                written = await self._ask(split, exchange, decided)
            finally:
                place.leave()
            self._journal.write(written)
            return written.usage.get("total_tokens", estimate)
        except GatewayError as error:
            log.info("no shadow of req_%s: %s", exchange.token, error.message)
        except Exception:
            log.exception("the shadow of req_%s failed", exchange.token)
        finally:
            self._leases.release(split.version_id)
        return 0

    async def _ask(self, split: Split, exchange: Exchange, decided: Decided) -> Interaction:
        """What the candidate says, with the memory that it has not learned. Raises GatewayError."""
        tenant, token = decided.principal.tenant, new_id("")
        whole = {
            name: value
            for name, value in decided.request.payload.items()
            if name not in ("stream", "stream_options")
        }
        request = replace(decided.request, payload=whole, stream=False)
        chosen = decided.route._replace(version_id=split.version_id, label=SHADOW, arm=SHADOW)
        context = await self._contexts.gather(tenant, split.version_id, request.question, decided.wanted)
        body = engine_body(request, context.text, chosen.engine_model, tenant.cache_salt, token)
        asked = time.perf_counter()
        reply = await self._proxy.answer(Call(chosen, body, token, request.path, request.engine_ids))
        if reply.status != 200:
            raise engine_error(reply.status, reply.body, chosen.engine_model, request.model)
        names = Names(f"{SHADOW}-{token}", request.model, chosen.engine_model)
        _, outcome = request.answer(reply.body, names)
        return Interaction(
            id=names.public_id,
            tenant_id=tenant.id,
            adapter=chosen.adapter,
            version_id=split.version_id,
            arm=SHADOW,
            messages=request.messages,
            response=outcome.text,
            memory_ids=context.memory_ids,
            passage_ids=context.passage_ids,
            session_id=None,
            usage=outcome.usage or {},
            latency_ms=(time.perf_counter() - asked) * 1000,
            status=reply.status,
            at=datetime.now(UTC),
            detail={
                "of": decided.names.public_id,
                "production": exchange.outcome.text,
                "production_ms": exchange.engine_seconds * 1000,
            },
            flaw=flaw_of(reply.status, outcome),
            rollout=split.reference,
        )
