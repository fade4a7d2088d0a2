"""The names under which a client for a mobile key keeps things in its storage.

Source: ``client-side.md`` 5.3.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import Final

__all__ = ["DEVICE_NAMESPACE", "digest", "environment_namespace"]

DEVICE_NAMESPACE: Final = "aioflags_device"
"""The namespace of what all environments of a device share."""


def environment_namespace(mobile_key: str) -> str:
    """The namespace of one environment. It does not reveal the key."""
    return f"aioflags_env_{digest(mobile_key.encode())}"


def digest(data: bytes) -> str:
    """The SHA-256 digest in the URL-safe base64 alphabet, without padding: 43 characters."""
    return urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
