"""The version of each evaluated flag: the newest version of the data in which the flag, or what it depends on, changed.

Client-side SDKs ignore a change whose version is not newer. The version of the definition stays the same if only a segment changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from aioflags.devserver.data.objects import ObjectName, ServedObject


def evaluation_versions(
    objects: Iterable[ServedObject], dependencies: Mapping[ObjectName, AbstractSet[ObjectName]]
) -> dict[ObjectName, int]:
    """The version of each object, of deleted objects too.

    Args:
        objects: all objects, deleted ones included.
        dependencies: the objects on which each object depends directly. They need not exist, and cycles are possible.
    """
    dependents: defaultdict[ObjectName, list[ObjectName]] = defaultdict(list)
    for name, needed in dependencies.items():
        for other in needed:
            dependents[other].append(name)
    versions: dict[ObjectName, int] = {}
    for served in sorted(objects, key=lambda served: served.since, reverse=True):
        pending = [(served.kind, served.key)]
        while pending:
            name = pending.pop()
            if name not in versions:  # The first visit has the newest version.
                versions[name] = served.since
                pending += dependents[name]
    return versions
