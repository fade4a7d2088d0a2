"""A DynamoDB for tests: moto's server in a process of its own, on a free port, with everything in memory."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import boto3

from tests.support.redis_server import free_port

TABLE = "flags"
REGION = "eu-central-1"
CREDENTIALS = {"aws_access_key_id": "access-key-canary", "aws_secret_access_key": "key-canary-of-aws-3f9c51b7"}
"""The secret starts with the canary: a test fails if it is shown. The access key is part of every request."""
_PATIENCE = 60.0
"""Seconds that the server has to start on a busy machine."""


class DynamoDBServer:
    """One server with one table, whose contents each test starts without."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._log = folder / "moto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        # moto does not check the credentials. Typed as Any: the operations of a client exist at run time only.
        self.client: Any = boto3.client("dynamodb", endpoint_url=self.url, region_name=REGION, **CREDENTIALS)

    def start(self) -> None:
        """Start the server, and return when it answers."""
        command = [sys.executable, "-m", "moto.server", "-p", str(self._port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self.reset()
                return
            except URLError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(self._log.read_text()) from None
                time.sleep(0.05)

    def reset(self) -> None:
        """Delete all tables, and create the one of the tests."""
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")):
            pass
        self.create_table(TABLE, "namespace", "key")

    def create_table(self, name: str, partition_key: str, sort_key: str) -> None:
        """Create a table with two string keys."""
        columns = {partition_key: "HASH", sort_key: "RANGE"}
        self.client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": column, "KeyType": kind} for column, kind in columns.items()],
            AttributeDefinitions=[{"AttributeName": column, "AttributeType": "S"} for column in columns],
            BillingMode="PAY_PER_REQUEST",
        )

    def put(self, namespace: str, key: str, **attributes: Mapping[str, object]) -> None:
        """Write an item as another program does."""
        self.client.put_item(TableName=TABLE, Item={"namespace": {"S": namespace}, "key": {"S": key}, **attributes})

    @property
    def items(self) -> list[dict[str, Any]]:
        """Everything in the table."""
        pages = self.client.get_paginator("scan").paginate(TableName=TABLE)
        return [item for page in pages for item in page["Items"]]

    def stop(self) -> None:
        """End the process, and close the connection to it."""
        self.client.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
