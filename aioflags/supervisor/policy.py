"""Policy: the limits that the supervisor is given. Durations are in seconds.

Source: ``data-system.md`` 5.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SERVER", "Policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient the supervisor is with a source that is not alone.

    ``startup``: from the start of its tenure to its first ``VALID``. ``interruption``: since it stopped being ``VALID``.
    ``recovery``: for how long one that is not the first has to be ``VALID`` before the first gets another chance.
    ``after_rejection``: how long to wait for the next tenure after data that could not be applied, alone or not.
    """

    startup: float
    interruption: float
    recovery: float
    after_rejection: float


SERVER: Final = Policy(startup=10.0, interruption=60.0, recovery=300.0, after_rejection=30.0)
