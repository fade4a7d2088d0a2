"""aioflags.otel as a whole: private attributes, and the import without the extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aioflags import Client, Config
from aioflags.otel import EventsHook, MetricsPlugin, TracingHook
from tests.support.canaries import SECRET
from tests.support.otel import DOCUMENT, USER, Logs, Measured, Traces


async def test_no_attribute_of_a_context_is_exported() -> None:
    logs, traces, measured = Logs(), Traces(), Measured()
    hooks = EventsHook(logger_provider=logs.provider, context_id="key"), TracingHook(tracer_provider=traces.provider, spans=True)
    plugin = MetricsPlugin(meter_provider=measured.provider)
    async with Client.local(DOCUMENT, Config(hooks=hooks, plugins=[plugin])) as client:
        with traces.tracer.start_as_current_span("request"):
            await client.variation("checkout", USER, False)
    exported = f"{logs.records} {[span.to_json() for span in traces.spans]} {measured.reader.get_metrics_data()}"
    assert "anna" in exported
    assert SECRET not in exported


@pytest.mark.real_time
def test_without_the_extra_the_import_error_names_it() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import aioflags.otel"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "aioflags.otel needs the extra otel: pip install 'aioflags[otel]'" in ran.stderr
