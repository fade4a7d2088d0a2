"""Fills in the default of each property that a flag or segment leaves out.

LaunchDarkly always writes these properties, so SDKs rely on them: some refuse the whole payload if one clause has no
``attribute``. A property without a default, such as the variation of a target, is required in a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final

from aioflags.model.change import ObjectKind


@dataclass(frozen=True, slots=True)
class _Shape:
    """The defaults of an object, and the shapes of its nested objects: lists of objects, except for the names in ``_SINGLE``."""

    defaults: Mapping[str, object]
    parts: Mapping[str, _Shape] = field(default_factory=dict[str, "_Shape"])


_SINGLE: Final = frozenset({"fallthrough", "rollout"})
_CLAUSE: Final = _Shape({"attribute": "", "op": "", "values": []})
"""Without ``contextKind``, because it changes the meaning of ``attribute`` from a plain name to a reference."""
_TARGET: Final = _Shape({"values": []})
_TARGET_OF_KIND: Final = _Shape({"contextKind": "user", "values": []})
_FALLTHROUGH: Final = _Shape({}, {"rollout": _Shape({"variations": []})})
_FLAG_RULE: Final = _Shape({"clauses": [], "trackEvents": False}, {**_FALLTHROUGH.parts, "clauses": _CLAUSE})
_SEGMENT_RULE: Final = _Shape({"clauses": []}, {"clauses": _CLAUSE})

_SHAPES: Final = {
    ObjectKind.FLAG: _Shape(
        {"on": False, "variations": [], "fallthrough": {}, "prerequisites": [], "targets": [], "rules": [], "salt": ""},
        {"targets": _TARGET, "contextTargets": _TARGET_OF_KIND, "rules": _FLAG_RULE, "fallthrough": _FALLTHROUGH},
    ),
    ObjectKind.SEGMENT: _Shape(
        {"included": [], "excluded": [], "rules": [], "salt": ""},
        {"rules": _SEGMENT_RULE, "includedContexts": _TARGET_OF_KIND, "excludedContexts": _TARGET_OF_KIND},
    ),
}


def fill_defaults(kind: ObjectKind, written: Mapping[str, Any]) -> Mapping[str, Any]:
    """A flag or segment as decoded JSON, with defaults for properties that are missing or ``null``. Its meaning does not change.

    ``written`` is not modified. If nothing is missing, it is returned itself.
    """
    return _filled(written, _SHAPES[kind])


def _filled(written: Mapping[str, Any], shape: _Shape) -> Mapping[str, Any]:
    """Returns the object itself if nothing is missing, so that most of a large document is not copied."""
    filled: dict[str, Any] = {name: default for name, default in shape.defaults.items() if written.get(name) is None}
    for name, part in shape.parts.items():
        nested: Any = written.get(name)
        if nested is None:
            continue
        if name in _SINGLE:
            if (complete := _filled(nested, part)) is not nested:
                filled[name] = complete
            continue
        complete_items = [_filled(item, part) for item in nested]
        if not all(map(is_, complete_items, nested)):
            filled[name] = complete_items
    return {**written, **filled} if filled else written
