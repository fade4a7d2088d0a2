"""The outcomes of a request: a response, or a failure that sources turn into a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from aioflags.model.source_state import ErrorInfo, FailureKind
from aioflags.protocol.failures import is_recoverable
from aioflags.transport.backoff import read_retry_after

__all__ = ["CLOSED", "RequestFailed", "Response"]

CLOSED: Final = "the connections are closed"
"""Why no request is sent after a client closed its connections."""

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class RequestFailed(Exception):  # noqa: N818 - sources turn it into a result; it is not a mistake of the program
    """Why a request has no usable response, with the headers that arrived. Sources catch it."""

    def __init__(self, error: ErrorInfo, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(error.message)
        self.error = error
        self.headers = headers

    @property
    def is_recoverable(self) -> bool:
        """Whether another request may succeed soon. If not, the service refused it."""
        return self.error.kind is not FailureKind.ERROR_RESPONSE or is_recoverable(self.error.status_code)

    @property
    def retry_after(self) -> float:
        """Seconds to wait, as the server asked; 0 if it did not ask."""
        return read_retry_after(self.error.status_code, self.headers)


@dataclass(frozen=True, slots=True)
class Response:
    """The status and headers of a response to a POST. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
