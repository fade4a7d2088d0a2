"""What is served is complete: where people leave a property out, because its default is meant, the server writes the default.

LaunchDarkly writes these properties always, and so SDKs rely on them: some refuse all data when a single clause has no
``attribute``. What has no default, such as the variation of a target, a document has to state anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import is_
from typing import Any, Final

from aioflags.model.change import ObjectKind

__all__ = ["completed"]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What an object has in any case, and the shapes of its parts: lists of them, but for those in ``_SINGLE``."""

    defaults: Mapping[str, object]
    parts: Mapping[str, _Shape] = field(default_factory=dict[str, "_Shape"])


_SINGLE: Final = frozenset({"fallthrough", "rollout"})
_CLAUSE: Final = _Shape({"attribute": "", "op": "", "values": []})
"""No ``contextKind``: the attribute of a clause that has one is a reference, and a plain name without."""
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


def completed(kind: ObjectKind, written: Mapping[str, Any]) -> Mapping[str, Any]:
    """A flag or segment, as JSON has it, with what it leaves out or has as ``null``; it means the same.

    ``written`` stays as it is, and where nothing is missing, the result is the same object.
    """
    return _filled(written, _SHAPES[kind])


def _filled(written: Mapping[str, Any], shape: _Shape) -> Mapping[str, Any]:
    """The object itself where nothing is missing: most of a large document is never copied."""
    filled: dict[str, Any] = {name: default for name, default in shape.defaults.items() if written.get(name) is None}
    for name, part in shape.parts.items():
        found: Any = written.get(name)
        if found is None:
            continue
        if name in _SINGLE:
            if (whole := _filled(found, part)) is not found:
                filled[name] = whole
            continue
        wholes = [_filled(each, part) for each in found]
        if not all(map(is_, wholes, found)):
            filled[name] = wholes
    return {**written, **filled} if filled else written
