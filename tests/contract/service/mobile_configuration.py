"""Converts the parameters of the harness to the configuration of a client with a mobile key."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aioflags import ConnectionMode, Hook, MobileConfig, MobileEvents
from aioflags.mobile import ModeDefinition
from tests.contract.service.callbacks import CallbackQueue
from tests.contract.service.conversions import common_options, event_options, fdv1_fallback, sources
from tests.contract.service.hooks import QueuedHook
from tests.contract.service.service_params import ClientSideParams, DataSystemParams, Hooks, ModeParams, SdkConfigParams


def mobile_config_for(params: SdkConfigParams, callbacks: CallbackQueue, logger: logging.Logger) -> MobileConfig:
    """The configuration of the client. Raises ``ConfigError`` where it cannot be had."""
    client_side, system = params.client_side or ClientSideParams(), params.data_system or DataSystemParams()
    hooks: list[Hook] = [QueuedHook(hook, callbacks) for hook in (params.hooks or Hooks()).hooks or ()]
    return MobileConfig(
        **common_options(params, logger),
        initial_connection_mode=_initial_mode(system),
        automatic_mode_switching=False,
        modes=_modes(system),
        fdv1_fallback=fdv1_fallback(system.fdv1_fallback),
        evaluation_reasons=bool(client_side.evaluation_reasons),
        use_report=bool(client_side.use_report),
        secure_mode_hash=client_side.hash,
        bootstrap=client_side.bootstrap,
        auto_env_attributes=bool(client_side.include_environment_attributes),
        events=MobileEvents(**event_options(params.events)),
        hooks=hooks,
    )


def _initial_mode(system: DataSystemParams) -> str:
    named = system.connection_mode_config
    return (named and named.initial_connection_mode) or ConnectionMode.STREAMING


def _modes(system: DataSystemParams) -> Mapping[str, ModeDefinition]:
    """The modes that the harness names; sources that belong to no mode are those of the mode for streaming."""
    named = system.connection_mode_config
    if named is not None:
        return {name: _definition(mode) for name, mode in (named.custom_connection_modes or {}).items()}
    if system.initializers or system.synchronizers:
        unnamed = ModeParams(initializers=system.initializers, synchronizers=system.synchronizers)
        return {ConnectionMode.STREAMING: _definition(unnamed)}
    return {}


def _definition(params: ModeParams) -> ModeDefinition:
    return ModeDefinition(initializers=sources(params.initializers), synchronizers=sources(params.synchronizers))
