"""Clients with the options of a program that runs once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aioflags import Client, Config, Context
from tests.support.canaries import KEY
from tests.support.scripted_http import Answer, Service, flag, payload, poll_of

USER = Context("u")
FLAGS = poll_of(*payload("f", state="s1"))
FDV1 = Answer(200, {}, [json.dumps({"flags": {"f": flag("f", "from fdv1", version=9)}}).encode()])


def one_shot(service: Service, deadline: float = 4, **options: Any) -> Client:
    return Client(KEY, Config(http=service.http(), **options).one_shot(deadline))


def paths(service: Service) -> list[str]:
    return [request.url.path for request in service.requests]


def seconds() -> float:
    return asyncio.get_running_loop().time()
