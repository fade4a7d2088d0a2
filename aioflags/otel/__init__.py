"""OpenTelemetry: an event, a span event or a measurement for each evaluation. Needs the extra ``otel``.

::

    client = Client("sdk-key", Config(hooks=[EventsHook()], plugins=[MetricsPlugin()]))

Data go to the global providers of the program, or to the providers that are passed. Options decide whether attributes contain
private data: the value of a flag, and the key of the context.

Source: OpenTelemetry's semantic conventions for feature flags; ``client-surface.md`` 6.8.
"""

from __future__ import annotations

from aioflags.runtime.lazy import publish

try:
    from aioflags.otel.metrics import MetricsPlugin
    from aioflags.otel.tracing import EventsHook, TracingHook
except ModuleNotFoundError as _missing:
    if not (_missing.name or "").startswith("opentelemetry"):
        raise
    _message = "aioflags.otel needs the extra otel: pip install 'aioflags[otel]'"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

__all__ = ["EventsHook", "MetricsPlugin", "TracingHook"]

publish(__name__, globals(), __all__)
