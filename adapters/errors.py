"""Everything that this package raises.

AdaptersError
├── NotFound
│   ├── UnknownAdapter
│   ├── UnknownBase           no base model has this name
│   ├── UnknownRollout
│   └── UnknownVersion
├── ConflictError             the record is not in the state that the caller assumed
│   ├── BaseNotServed         no engine of ours holds this base model now
│   ├── IllegalTransition
│   ├── NothingToRollBack
│   └── WrongBase
├── BadBaseModel              the base model's directory is incomplete or unreadable
├── InvalidAdapter            the files of an adapter are refused; `reason` and `param` say why
│   └── AdapterTooLarge       more bytes than an import may have
├── SourceRefused             a URI that may not be read, or cannot be
├── ImportTooSlow             an import that was not done within its bound
├── ArtifactError
│   ├── ArtifactMissing
│   ├── ArtifactCorrupt
│   ├── StoreUnavailable      the store, or control, did not answer an engine, or its disk failed
│   └── CacheFull             all that an engine's cache holds is in use
├── EngineError
│   ├── EngineUnavailable     no answer: down, restarting, or too slow
│   │   └── VersionLost       what it was loaded with is not there any more
│   └── EngineRefused         an answer, and it was no
│       └── VersionRefused    because of the version's files: asking again would not help
├── ProbeFailed               loaded, but it does not behave like an adapter
└── WorkersBehind             a live gateway worker has not applied a change in time
    └── WorkersUnseen         nobody can say which workers live
"""

from pathlib import Path

_MAX_REASON = 500
_MAX_PARAM = 200


class AdaptersError(Exception):
    """Root of the package's errors."""


class NotFound(AdaptersError):
    """A named thing does not exist, or not in this tenant."""


class UnknownAdapter(NotFound):
    def __init__(self, tenant_id: str, name: str) -> None:
        super().__init__(f"tenant {tenant_id} has no adapter {name!r}")


class UnknownBase(NotFound):
    param = "base"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no base model {name!r}")


class UnknownVersion(NotFound):
    def __init__(self, version: str) -> None:
        super().__init__(f"there is no version {version}")


class UnknownRollout(NotFound):
    def __init__(self, rollout_id: str) -> None:
        super().__init__(f"there is no rollout {rollout_id}")


class ConflictError(AdaptersError):
    """Somebody else was faster, or the record does not allow the step."""


class BaseNotServed(ConflictError):
    def __init__(self, digest: str) -> None:
        super().__init__(f"no engine here holds base model {digest}")


class IllegalTransition(ConflictError):
    def __init__(self, version_id: str, current: str, wanted: str) -> None:
        self.current = current
        self.wanted = wanted
        super().__init__(f"version {version_id} is {current} and cannot become {wanted}")


class NothingToRollBack(ConflictError):
    def __init__(self, tenant_id: str, name: str) -> None:
        super().__init__(f"adapter {name!r} of tenant {tenant_id} already serves the base model alone")


class WrongBase(ConflictError):
    def __init__(self, adapter_base: str, given: str) -> None:
        super().__init__(f"the adapter belongs to base model {adapter_base}, not {given}")


class InvalidAdapter(AdaptersError):
    """Files that must not reach an engine.

    reason: a sentence for the person who made them. param: the file, setting or tensor at fault. Both may quote the
    files: they are cut, and made Unicode.
    """

    def __init__(self, reason: str, param: str) -> None:
        self.reason = _shown(reason, _MAX_REASON)
        self.param = _shown(param, _MAX_PARAM)
        super().__init__(f"{self.param}: {self.reason}")


def _shown(text: str, most: int) -> str:
    """Names on a disk need not be Unicode; what is answered must be."""
    return text.encode(errors="backslashreplace").decode()[:most]


class AdapterTooLarge(InvalidAdapter):
    def __init__(self, limit: int, what: str) -> None:
        super().__init__(f"{what} may have {limit} bytes at most (GRAFT_IMPORT_MAX_BYTES)", "file")


class SourceRefused(AdaptersError):
    """Nothing is imported from this URI; the message never repeats its query, which may hold a secret."""

    param = "uri"


class ImportTooSlow(AdaptersError):
    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The import was not done in {seconds:g} s, the wait for its turn included (GRAFT_IMPORT_SECONDS)."
        )


class BadBaseModel(AdaptersError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"base model {path}: {reason}")


class ArtifactError(AdaptersError):
    """The artifact store cannot give what was asked of it."""


class ArtifactMissing(ArtifactError):
    def __init__(self, digest: str) -> None:
        super().__init__(f"the store holds no artifact {digest}")


class ArtifactCorrupt(ArtifactError):
    def __init__(self, digest: str, what: str) -> None:
        super().__init__(f"artifact {digest} is corrupt: {what}")


class StoreUnavailable(ArtifactError):
    def __init__(self, what: str, error: Exception) -> None:
        super().__init__(f"{what} cannot be had now: {type(error).__name__}: {error}")


class CacheFull(ArtifactError):
    def __init__(self, digest: str, wanted: int, limit: int) -> None:
        super().__init__(
            f"artifact {digest} needs {wanted} bytes, and the rest of the {limit} bytes of the engine's cache "
            "(GRAFT_ENGINE_CACHE_BYTES) is in use"
        )


class EngineError(AdaptersError):
    """An engine replica did not do what it was asked."""

    def __init__(self, url: str, detail: str) -> None:
        self.url = url
        self.detail = detail
        super().__init__(f"engine {url}: {detail}")


class EngineUnavailable(EngineError):
    """Nobody answered, or the answer came too late; asking again later may help."""


class VersionLost(EngineUnavailable):
    """The version was loaded and is not there any more: the engine has restarted, or somebody else has unloaded it."""


class EngineRefused(EngineError):
    """The engine answered with an error; `status` is its HTTP status, `reason` its own sentence."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(url, f"HTTP {status}: {reason}")


class VersionRefused(EngineRefused):
    """A healthy engine does not take the version's files, and says so of them."""


class ProbeFailed(AdaptersError):
    """A loaded version answers with errors, with numbers that are none, or exactly like the base model."""

    def __init__(self, version_id: str, url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"version {version_id} on {url}: {reason}")


class WorkersBehind(AdaptersError):
    def __init__(self, change: int, behind: int) -> None:
        self.behind = behind
        super().__init__(f"{behind} live gateway worker(s) have not applied change {change}")


class WorkersUnseen(WorkersBehind):
    """The heartbeats cannot be read, or started anew too recently for every live worker to have one."""

    def __init__(self, change: int, reason: str) -> None:
        super().__init__(change, 0)
        self.args = (f"it cannot be told which workers have applied change {change}: {reason}",)


HOPELESS = (ArtifactCorrupt, ArtifactMissing, InvalidAdapter, ProbeFailed, VersionRefused)
"""What trying again would not mend: the version is rejected and the old one keeps serving."""
