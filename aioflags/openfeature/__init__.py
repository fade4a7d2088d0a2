"""OpenFeature: a client of aioflags as a provider of OpenFeature's SDK. Needs the extra ``openfeature``.

::

    async with Client("sdk-key") as client:
        api.set_provider_and_wait(AioFlagsProvider(client))

Source: ``openfeature.md`` 6.
"""

from __future__ import annotations

from aioflags.runtime.lazy import publish

try:
    from aioflags.openfeature.provider import AioFlagsProvider
except ModuleNotFoundError as _missing:
    if not (_missing.name or "").startswith("openfeature"):
        raise
    _message = "aioflags.openfeature needs the extra openfeature: pip install 'aioflags[openfeature]'"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

__all__ = ["AioFlagsProvider"]

publish(__name__, globals(), __all__)
