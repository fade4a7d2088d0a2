"""The names under which a client for a mobile key keeps things in its storage.

Source: ``client-side.md`` 5.3.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aioflags.model.context import Context

__all__ = ["DEVICE_NAMESPACE", "context_id", "digest", "environment_namespace"]

DEVICE_NAMESPACE: Final = "aioflags_device"
"""The namespace of what all environments of a device share."""


def environment_namespace(mobile_key: str) -> str:
    """The namespace of one environment. It does not reveal the key."""
    return f"aioflags_env_{digest(mobile_key.encode())}"


def context_id(context: Context) -> str:
    """The name of a valid context: a digest of its kinds and keys, and of nothing else. It does not reveal them.

    Not of the canonical key: the user ``org:a`` has that of the org ``a``. The lengths keep a kind and a key apart whatever
    characters they have.
    """
    named = "".join(f"{single.kind}:{len(single.key)}:{single.key}" for single in context)
    # The prefix: earlier versions named contexts by the digest of the canonical key, without one.
    return f"kinds_{digest(named.encode(errors='surrogatepass'))}"


def digest(data: bytes) -> str:
    """The SHA-256 digest in the URL-safe base64 alphabet, without padding: 43 characters."""
    return urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
