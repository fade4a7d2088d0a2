"""Lint reports a malformed definition exactly if reading refuses it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from aioflags.protocol.flag_documents import DocumentError, read_document
from aioflags.tools.lint import lint

LEAVES = st.sampled_from([None, True, 0, 1, -3, 1.0, 1.5, 2**70, "", "user", "in"])
NAMES = st.sampled_from(
    [
        *(
            "key",
            "version",
            "deleted",
            "on",
            "variations",
            "offVariation",
            "fallthrough",
            "prerequisites",
            "targets",
            "rules",
            "salt",
        ),
        *("variation", "rollout", "values", "weight", "clauses", "op", "attribute", "contextKind", "negate", "id", "bucketBy"),
        *("clientSideAvailability", "usingMobileKey", "debugEventsUntilDate", "included", "includedContexts", "unbounded", "other"),
    ]
)
WRITTEN = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=15)
REFUSING = {"wrong-type", "missing-property", "key-mismatch", "unknown-section", "duplicate-key", "syntax"}


@given(st.sampled_from(["flags", "segments"]), st.dictionaries(NAMES, WRITTEN, max_size=6))
@example("flags", {"version": 2**70})
@example("flags", {"offVariation": -(2**63)})
@example("segments", {"generation": 1e300})
def test_a_definition_has_a_finding_exactly_if_reading_refuses_it(section: str, written: dict[str, Any]) -> None:
    text = json.dumps({section: {"a": written}}).encode()
    try:
        read_document(text)
    except DocumentError:
        is_refused = True
    else:
        is_refused = False
    assert any(finding.rule in REFUSING for finding in lint([("f.json", text)])) is is_refused
