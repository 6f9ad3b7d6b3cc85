"""What every command knows: where the system is, which keys open it, how to speak."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from gateway import credentials, launch, preflight
from gateway.cli.client import Api
from gateway.cli.output import CommandError, Exit, Output
from gateway.launch_errors import LaunchError
from gateway.plan import reachable
from gateway.settings import Settings


@dataclass(frozen=True)
class Session:
    """Options given before the command; empty ones are looked up in the data directory and the settings."""

    data_dir: Path | None
    admin_url: str
    gateway_url: str
    admin_key: str
    output: Output

    @property
    def settings(self) -> Settings:
        try:
            return Settings() if self.data_dir is None else Settings(data_dir=self.data_dir)
        except ValidationError as error:
            bad = "; ".join(launch.bad_value(problem) for problem in error.errors())
            raise CommandError(f"{bad}.", fix="Correct these environment variables.") from error

    @property
    def directory(self) -> Path:
        return self.settings.data_dir.resolve()

    @property
    def state(self) -> dict[str, Any]:
        """What the supervisor of this data directory wrote, when one is running."""
        return preflight.read_state(self.directory) if preflight.running(self.directory) else {}

    @property
    def secrets(self) -> credentials.Credentials | None:
        try:
            return credentials.load(self.directory)
        except LaunchError as error:
            raise CommandError(error.message, fix=error.fix) from error

    def admin(self) -> Api:
        """The admin API, as the operator."""
        settings, secrets = self.settings, self.secrets
        key = (
            self.admin_key or settings.admin_key.get_secret_value() or (secrets.admin_key if secrets else "")
        )
        if not key:
            raise no_key(self.directory, "--admin-key")
        default = f"http://{reachable(settings.admin_host)}:{settings.admin_port}"
        url = self.admin_url or self.state.get("admin_url") or default
        return Api(f"{url}/admin/v1", key)

    def data(self, tenant: str, key: str) -> Api:
        """The data plane: with a tenant's own key, or as the operator acting for the tenant."""
        settings, secrets = self.settings, self.secrets
        default = f"http://{reachable(settings.host)}:{settings.port}"
        url = self.gateway_url or self.state.get("gateway_url") or default
        if key:
            return Api(f"{url}/v1", key)
        if secrets is None:
            raise no_key(self.directory, "--key")
        return Api(f"{url}/v1", secrets.platform_key, {"x-tenant-id": tenant})


def of(context: typer.Context) -> Session:
    """The session that the root command made."""
    session = context.find_root().obj
    if not isinstance(session, Session):
        raise CommandError("No session.", code=Exit.USAGE)
    return session


def no_key(directory: Path, option: str) -> CommandError:
    return CommandError(
        f"There are no keys in {directory}.",
        fix=f"Start the system with `graft up`, name its --data-dir, or give {option}.",
    )
