"""Hypothesis strategies for JSON values and contexts."""

from __future__ import annotations

from hypothesis import strategies as st

from aioflags.model.context import Context

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.text(alphabet="azAZ09._-", min_size=1).filter(lambda kind: kind not in {"kind", "multi"})
SINGLES = st.builds(
    Context,
    key=st.text(min_size=1),
    kind=KINDS,
    name=st.none() | st.text(),
    anonymous=st.booleans(),
    attributes=st.dictionaries(st.text(), JSON, max_size=3),
    private=st.lists(st.text(), max_size=2),
)
CONTEXTS = SINGLES | st.lists(SINGLES, min_size=1, max_size=3, unique_by=lambda single: single.kind).map(
    lambda singles: Context.multi(*singles)
)
