"""A flag for flagd: a colour, which is red for Anna."""

from __future__ import annotations

__all__ = ["DOCUMENT"]

DOCUMENT = {
    "flags": {
        "colour": {
            "state": "ENABLED",
            "variants": {"blue": "blue", "red": "red"},
            "defaultVariant": "blue",
            "targeting": {"if": [{"==": [{"var": "targetingKey"}, "anna"]}, "red"]},
        }
    }
}
