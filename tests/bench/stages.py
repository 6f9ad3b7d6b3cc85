"""A worker that knows where its time goes: `python -m tests.bench.stages` takes what `gateway.app` takes.

Each stage's functions are wrapped before the worker is composed. A coroutine's steps are timed one by one, by the
thread's own processor time, so that waiting counts for nobody. The gateway itself has no hook and pays nothing.

`GET /bench/stages` answers with the seconds and calls since it was last asked: per stage, each without the stages
inside it. `server` is the rest of the main thread (uvicorn, the event loop, connections, Redis), `other threads` are
the record's.
"""

import functools
import importlib
import inspect
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from typing import Any

import orjson

from gateway import app

SERVER, THREADS = "server", "other threads"
WHERE = {
    "authenticate": ("gateway.routes.generation:authenticate",),
    "parse": ("gateway.routes.generation:read_body", "gateway.chat_request:ChatRequest.parse"),
    "route": ("gateway.routes.generation:sticky_key", "gateway.routes.generation:route"),
    "admit": (
        "gateway.admission:Admissions.admit",
        "gateway.admission:Admission.turn",
        "gateway.admission:Admission.settle",
        "gateway.admission:Admission.release",
        "adapters.slots:Slots.enter",
    ),
    "retrieve": ("gateway.context:ContextSource.gather",),
    "forward": ("gateway.routes.generation:engine_body", "gateway.proxy:Proxy.answer"),
    "answer": (
        "gateway.chat_request:ChatRequest.renamed",
        "gateway.routes.generation:response_headers",
        "gateway.asgi:DisconnectWatch.respond",
    ),
    "account": (
        "gateway.telemetry:Telemetry.record",
        "gateway.routes.generation:GenerationEndpoint._journal",
        "gateway.shadows:Shadows.offer",
        "training.journal:JournalWriter._flush",
    ),
    "rest of the request": ("gateway.routes.generation:GenerationEndpoint.__call__",),
}


class Clock:
    """Seconds and calls by stage; only the innermost running stage is charged."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._inside: list[float] = []

    def enter(self) -> float:
        self._inside.append(0.0)
        return time.thread_time()

    def leave(self, stage: str, entered: float) -> None:
        spent = time.thread_time() - entered
        self.seconds[stage] += spent - self._inside.pop()
        if self._inside:
            self._inside[-1] += spent


class Timed:
    """An awaitable that times every step of another one."""

    def __init__(self, clock: Clock, stage: str, inner: Any) -> None:
        self._clock, self._stage, self._inner = clock, stage, inner

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._inner.__await__()
        sent: Any = None
        step: Callable[[Any], Any] = steps.send
        while True:
            entered = self._clock.enter()
            try:
                waited_for = step(sent)
            except StopIteration as done:
                return done.value
            finally:
                self._clock.leave(self._stage, entered)
            try:
                sent, step = (yield waited_for), steps.send
            except BaseException as error:
                sent, step = error, steps.throw


def timed(clock: Clock, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its time charged to the stage."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def slow(*args: Any, **kwargs: Any) -> Any:
            clock.calls[stage] += 1
            return await Timed(clock, stage, function(*args, **kwargs))

        return slow

    @functools.wraps(function)
    def quick(*args: Any, **kwargs: Any) -> Any:
        clock.calls[stage] += 1
        entered = clock.enter()
        try:
            return function(*args, **kwargs)
        finally:
            clock.leave(stage, entered)

    return quick


def instrument(clock: Clock) -> list[str]:
    """Wrap every stage's functions; returns the names that the gateway no longer has."""
    missing = []
    for stage, names in WHERE.items():
        for name in names:
            owner, last = find(name)
            if owner is None or not hasattr(owner, last):
                missing.append(name)
            else:
                setattr(owner, last, timed(clock, stage, getattr(owner, last)))
    return missing


def find(name: str) -> tuple[Any, str]:
    """The module or class that holds a name of `WHERE`, None where it is gone, and the name in it."""
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    first: Any = importlib.import_module(module)
    return functools.reduce(lambda at, each: getattr(at, each, None), owners, first), last


class Reporter:
    """Answers `GET /bench/stages` in front of the data plane."""

    def __init__(self, clock: Clock, missing: list[str], inner: Any) -> None:
        self._clock, self._missing, self._inner = clock, missing, inner
        self._thread = self._process = 0.0

    async def __call__(self, plane: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/bench/stages":
            await self._inner(plane, scope, receive, send)
            return
        body = orjson.dumps(self._report())
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _report(self) -> dict[str, Any]:
        thread, process = time.thread_time(), time.process_time()
        main, whole = thread - self._thread, process - self._process
        self._thread, self._process = thread, process
        seconds = dict.fromkeys(WHERE, 0.0) | self._clock.seconds
        seconds[SERVER] = main - sum(seconds.values())
        seconds[THREADS] = whole - main
        report = {"seconds": seconds, "calls": dict(self._clock.calls), "missing": self._missing}
        self._clock.seconds.clear()
        self._clock.calls.clear()
        return report


def main() -> None:
    clock = Clock()
    reporter = Reporter(clock, instrument(clock), app.DataPlane.__call__)

    async def call(plane: Any, scope: Any, receive: Any, send: Any) -> None:
        await reporter(plane, scope, receive, send)

    app.DataPlane.__call__ = call  # type: ignore[method-assign, assignment]
    app.main(sys.argv[1:])


if __name__ == "__main__":
    main()
