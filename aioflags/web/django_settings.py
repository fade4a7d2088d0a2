"""The meaning of Django's ``settings.AIOFLAGS``, and the client that runs for it in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from aioflags.client.client import Client
from aioflags.errors import ConfigError
from aioflags.runtime.fork import Lock
from aioflags.runtime.validation import require
from aioflags.web.application_client import ApplicationClient, RequestFlags

__all__ = ["DjangoSite", "current_site"]

_REMEDY: Final = 'AIOFLAGS = {"CLIENT": "shop.flags.make_client"}'
_NO_OPTIONS: Final[Mapping[str, object]] = {}


class DjangoSite:
    """The checked options of ``settings.AIOFLAGS``, and the flags of requests.

    Raises:
        ConfigError: the options have a mistake.
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        require("settings.AIOFLAGS", options, Mapping)
        if unknown := sorted(map(str, options.keys() - {"CLIENT", "CONTEXT", "AMBIENT"})):
            raise ConfigError(f"settings.AIOFLAGS: unknown key {unknown[0]!r}; it may have CLIENT, CONTEXT and AMBIENT")
        self.options: Mapping[str, object] = options
        self.is_ambient: bool = bool(require('settings.AIOFLAGS["AMBIENT"]', options.get("AMBIENT", False), bool))
        client = Client.from_env if options.get("CLIENT") is None else _loaded(options, "CLIENT")
        self.service: ApplicationClient[HttpRequest] = ApplicationClient(client, _loaded(options, "CONTEXT"), remedy=_REMEDY)
        self.requests: RequestFlags[HttpRequest] | None = self.service.not_started()
        """``None`` while no client runs."""
        self.is_running: bool = False


_sites: Final[list[DjangoSite]] = []
"""Those that run, and the last one: tests replace settings for a time."""
_LOCK: Final = Lock()


def current_site() -> DjangoSite:
    """The site for the settings of this moment. Raises :class:`ConfigError` for a mistake in them."""
    options: Mapping[str, object] = getattr(settings, "AIOFLAGS", _NO_OPTIONS)
    with _LOCK:
        site = next((site for site in _sites if site.options is options), None)
        if site is None:
            site = DjangoSite(options)
            _sites[:] = [*(kept for kept in _sites if kept.is_running), site]
        return site


def _loaded(options: Mapping[str, object], key: str) -> Any:
    value = options.get(key)
    try:
        return import_string(value) if isinstance(value, str) else value
    except ImportError as error:
        raise ConfigError(f'settings.AIOFLAGS["{key}"]: {error}') from error
