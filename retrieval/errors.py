"""Everything that can go wrong in retrieval.

RetrievalError
├── RetrievalUnavailable    the service cannot be reached, or did not answer as it should
│   └── RetrievalTimeout    it did not answer within the caller's deadline
└── RequestRefused          the caller asked for something that cannot be done
    ├── InvalidRequest      a field is missing, malformed or out of range
    ├── NotFound            no such file, vector store or memory entry in this tenant
    ├── UnsupportedFile     the file's type cannot be read as text
    └── TooLarge            the file is over the size limit
"""


class RetrievalError(Exception):
    """Base of this package's errors."""


class RetrievalUnavailable(RetrievalError):
    """The service cannot be reached or answered with an error of its own; trying later may help."""


class RetrievalTimeout(RetrievalUnavailable):
    """No answer within the deadline."""


class RequestRefused(RetrievalError):
    """The request itself is at fault. `status` and `code` are what an OpenAI client gets to see."""

    status = 400
    code = "invalid_request"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidRequest(RequestRefused):
    """A field is missing, malformed or out of range."""


class NotFound(RequestRefused):
    """The tenant has no such thing. Another tenant's things are not found either."""

    status = 404
    code = "not_found"


class UnsupportedFile(RequestRefused):
    """The file's type or bytes cannot be read as text."""

    code = "unsupported_file"


class TooLarge(RequestRefused):
    """The file is over the size limit."""

    status = 413
    code = "file_too_large"
