"""Hooks: code of a program that runs around its evaluations and after its tracked events."""

from aioflags.hooks.hook import EvaluationCall, Hook, Metadata, TrackCall
from aioflags.runtime.lazy import publish

__all__ = ["EvaluationCall", "Hook", "Metadata", "TrackCall"]

publish(__name__, globals(), __all__)
