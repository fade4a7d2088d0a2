"""The protobuf messages of flagd's services. This package needs the extra ``flagd``.

``tests/support/flagd_pb.py`` generates the modules whose names end in ``_pb2`` from flagd's proto files.
"""
