"""Policy: the limits and pauses of a supervisor, and what a failing source leads to. Durations are in seconds.

Source: ``data-system.md`` 5.5; ``client-side.md`` 4.5 to 4.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aioflags.model.defaults import MAX_REFUSED_RETRY_DELAY, REFUSED_RETRY_DELAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits on the states of a source, and pauses between runs of sources.

    The first three are limits. They do not apply to the only source that is left:

    - ``startup``: from the start of a run to its first ``VALID``.
    - ``interruption``: from the end of ``VALID`` to the next ``VALID``.
    - ``recovery``: how long a source other than the first stays ``VALID`` before the first source is tried again; with
      ``recovery_counts_run``, how long it runs, whatever its state.

    The next are pauses before the next run:

    - ``after_rejection``: after data that could not be applied, also if only one source is left.
    - ``after_round``: once each source has run and none was ``VALID``. It counts from the start of the last run, so that sources
      start at least this far apart. It doubles with each such round, up to ``max_after_round``, less a random part of up to half.
    - ``after_refusal``: after the service refused the last source. It doubles with each such refusal, up to ``max_after_refusal``,
      less a random part of up to half.
    - ``between_starts``: from one start of a source to its next.

    What a source leads to that does not keep to the rules of sources, and what the end of a fallback directive leads to:

    - ``keeps_failing``: one that raises may run again; otherwise it is removed.
    - ``stops_with_source``: one that ends without ``OFF`` ends all updates; otherwise it is removed.
    - ``restores_removed``: when FDv2 is used again, so are the sources that were removed before the directive.
    """

    startup: float
    interruption: float
    recovery: float
    after_rejection: float
    after_round: float
    max_after_round: float
    after_refusal: float
    max_after_refusal: float
    between_starts: float = 0.0
    recovery_counts_run: bool = False
    keeps_failing: bool = False
    stops_with_source: bool = False
    restores_removed: bool = True


SERVER: Final = Policy(
    startup=10.0,
    interruption=60.0,
    recovery=300.0,
    after_rejection=30.0,
    after_round=1.0,
    max_after_round=30.0,
    after_refusal=REFUSED_RETRY_DELAY,
    max_after_refusal=MAX_REFUSED_RETRY_DELAY,
)
"""The policy of clients with an SDK key."""

MOBILE: Final = Policy(
    startup=10.0,
    interruption=120.0,
    recovery=300.0,
    recovery_counts_run=True,
    after_rejection=30.0,
    after_round=1.0,
    max_after_round=30.0,
    after_refusal=REFUSED_RETRY_DELAY,
    max_after_refusal=MAX_REFUSED_RETRY_DELAY,
    between_starts=1.0,
    keeps_failing=True,
    stops_with_source=True,
    restores_removed=False,
)
"""The policy of clients with a mobile key, whose sources start again with each mode and each context."""
