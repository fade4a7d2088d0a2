"""Hooks: code that runs before and after each evaluation, and after each tracked event."""

from aioflags.hooks.hook import EvaluationCall, Hook, IdentifyCall, Metadata, TrackCall
from aioflags.runtime.lazy import publish

__all__ = ["EvaluationCall", "Hook", "IdentifyCall", "Metadata", "TrackCall"]

publish(__name__, globals(), __all__)
