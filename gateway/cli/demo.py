"""`graft demo`: the whole loop on this machine, through the public interfaces, told as a timeline."""

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from openai import AsyncOpenAI
from rich.console import Console

from gateway import launch
from gateway.cli.control import Control
from gateway.cli.demo_memory import Tenant, World, corrected, strangers
from gateway.cli.demo_weights import Weights
from gateway.cli.facts import FactsError, FactsFile, load
from gateway.cli.output import CommandError, Exit
from gateway.cli.session import of
from gateway.cli.story import Story
from gateway.cli.up import interrupted
from gateway.launch import System
from gateway.launch_errors import LaunchError
from gateway.supervisor import Event

DEFAULT_FACTS = launch.ROOT / "deploy" / "demo" / "facts" / "acme.yaml"
DEMO_SECONDS = 360.0
SHIPPED_MODEL = launch.ROOT / "deploy" / "demo" / "model"


def demo(
    context: typer.Context,
    facts: Annotated[Path, typer.Option(help="The company, its facts and their phrasings.")] = DEFAULT_FACTS,
    keep: Annotated[bool, typer.Option(help="Keep the demo's data directory.")] = False,
    untimed: Annotated[bool, typer.Option(help="Report times, but do not fail on a missed one.")] = False,
) -> None:
    """Show the loop: serve, correct, learn, swap, roll back. Fails if any line of it is untrue."""
    try:
        told = Story(Console(stderr=of(context).output.json), timed=not untimed)
        story = asyncio.run(_demo(load(facts), keep, told))
    except FactsError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
    except LaunchError as error:
        raise CommandError(error.message, fix=error.fix) from error
    if of(context).output.json:
        typer.echo(json.dumps(story.as_json(), indent=2))
    raise typer.Exit(int(Exit.FAILED) if story.untrue else 0)


async def _demo(facts: FactsFile, keep: bool, story: Story) -> Story:
    directory = Path(tempfile.mkdtemp(prefix="graft-demo-"))
    try:
        with interrupted():
            await _tell(story, facts, directory)
    except (TimeoutError, httpx.HTTPError) as error:
        story.check("the demo ran to its end", False, f"{type(error).__name__}: {error}")
    finally:
        _tidy(directory, keep or bool(story.untrue), story)
    story.figure("the whole demo", round(story.elapsed, 1), "s", DEMO_SECONDS)
    story.finish()
    return story


def free_ports() -> dict[str, int]:
    """Ports that nothing uses now, so that the demo runs beside a system that is up."""
    names = ("port", "admin_port", "engine_port", "retrieval_port")
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


def _tidy(directory: Path, keep: bool, story: Story) -> None:
    if keep:
        story.say(f"data and logs are in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


async def _tell(story: Story, facts: FactsFile, directory: Path) -> None:
    model = directory / "base-model"
    shutil.copytree(SHIPPED_MODEL, model)
    overrides = {"data_dir": directory, "base_model": str(model), **free_ports()}
    settings = launch.read_settings(launch.environment(), overrides)

    def report(event: Event) -> None:
        story.say(f"[dim]{event.process}[/] {event.kind} after {event.seconds:.1f} s {event.detail}")

    story.say("starting Redis, vLLM, retrieval, the learner, control and the gateway …")
    async with launch.running(settings, report) as system, _world(story, facts, system) as (world, control):
        story.figure("start to ready", round(story.elapsed, 1), "s")
        await strangers(world)
        await corrected(world)
        await Weights(world, control, model / "model.safetensors", model / "probes.jsonl").tell()


@asynccontextmanager
async def _world(story: Story, facts: FactsFile, system: System) -> AsyncIterator[tuple[World, Control]]:
    """Two tenants with their clients, and the operator."""
    plan = system.plan
    async with AsyncExitStack() as open_clients:
        admin = await open_clients.enter_async_context(
            httpx.AsyncClient(
                base_url=plan.admin_url,
                headers={"Authorization": f"Bearer {plan.admin_key}"},
                timeout=60,
                trust_env=False,
            )
        )
        data = await open_clients.enter_async_context(
            httpx.AsyncClient(base_url=plan.gateway_url, timeout=60, trust_env=False)
        )
        control = Control(admin, system.supervisor.processes["engine"].pid)
        tenants = []
        for name in (facts.company, facts.rival):
            tenant_id, key = await control.make_tenant(name)
            client = AsyncOpenAI(api_key=key, base_url=f"{plan.gateway_url}/v1", max_retries=0, timeout=60)
            tenants.append(Tenant(tenant_id, name, await open_clients.enter_async_context(client), key))
        yield World(story, facts, tenants[0], tenants[1], data), control
