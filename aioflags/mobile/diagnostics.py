"""The description of a client for a mobile key in diagnostic events, without addresses, proxies and keys.

Source: ``events.md`` 12.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from aioflags.client_core.diagnostics import common_configuration
from aioflags.events.surroundings import describe_platform
from aioflags.mobile.config import MobileConfig
from aioflags.mobile.modes import ConnectionMode
from aioflags.mobile.pipelines import Pipeline
from aioflags.model.defaults import (
    BACKGROUND_POLL_INTERVAL,
    FOREGROUND_POLL_INTERVAL,
    MOBILE_BASE_URI,
    MOBILE_EVENTS_URI,
    MOBILE_STREAM_URI,
)
from aioflags.protocol.diagnostics import Description, MobileConfiguration, Sdk, millis
from aioflags.protocol.requests import MOBILE_PRODUCT
from aioflags.runtime.version import __version__
from aioflags.sources.poller import PollOptions

__all__ = ["describe_mobile_client"]


def describe_mobile_client(
    config: MobileConfig, sources: Mapping[ConnectionMode, Pipeline], environment: Mapping[str, str]
) -> Description:
    """The description of a client with these options and sources. ``environment`` (as ``os.environ``) may name proxies."""
    foreground = sources[config.rules.foreground]
    polls = [builder for builder in sources[ConnectionMode.BACKGROUND].synchronizers if isinstance(builder, PollOptions)]
    common = common_configuration(
        config,
        [*foreground.initializers, *foreground.synchronizers],
        service=(MOBILE_BASE_URI, MOBILE_STREAM_URI, MOBILE_EVENTS_URI),
        poll_interval=FOREGROUND_POLL_INTERVAL,
        reconnect_delay=config.initial_reconnect_delay,
        environment=environment,
    )
    return Description(
        sdk=Sdk(name=MOBILE_PRODUCT, version=__version__, wrapper_name=config.wrapper_name, wrapper_version=config.wrapper_version),
        configuration=MobileConfiguration(
            **common,
            background_polling_interval_millis=millis((polls[0].interval if polls else None) or BACKGROUND_POLL_INTERVAL),
            background_polling_disabled=not config.background_updating,
            use_report=config.use_report,
            evaluation_reasons_requested=config.evaluation_reasons,
            max_cached_users=config.max_cached_contexts,
            mobile_key_count=1 + len(config.secondary_mobile_keys),
            using_secure_mode=config.secure_mode_hash is not None,
        ),
        platform=describe_platform(),
    )
