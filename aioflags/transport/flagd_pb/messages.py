"""Makes the classes of messages from the descriptor of a proto file, with the public functions of protobuf alone.

The Python code that ``protoc`` writes refuses to run with an older protobuf than the one it was written for.
The descriptors have a package name and file names of aioflags: two packages that bring different versions of one proto file
cannot be imported into one process, and flagd's other libraries bring theirs. Messages on the wire do not carry these names.
"""

from __future__ import annotations

from typing import Final

from google.protobuf import message_factory, struct_pb2
from google.protobuf.message import Message

_POOL: Final = struct_pb2.DESCRIPTOR.pool
"""The default pool. It has the descriptor of Struct, which the messages refer to, because ``struct_pb2`` is imported."""


def message_classes(serialized: bytes, package: str) -> dict[str, type[Message]]:
    """The classes of a file's messages by name, for ``package``, the module that they belong to."""
    file = _POOL.AddSerializedFile(serialized)
    classes = {name: message_factory.GetMessageClass(message) for name, message in file.message_types_by_name.items()}
    for message_class in classes.values():
        message_class.__module__ = package
    return classes
