"""The HTTP interface of the test service: its capabilities, creation and deletion of clients, commands."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import msgspec
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aioflags import ConfigError
from aioflags.runtime.version import __version__
from tests.contract.service.callbacks import Callbacks
from tests.contract.service.commands import CommandError, Entity, OperationError, run_command
from tests.contract.service.service_params import Params, SdkConfigParams
from tests.contract.service.side import Side, Surroundings


class CreateInstanceParams(Params):
    configuration: SdkConfigParams
    tag: str | None = None


class Service:
    """The clients that a harness has created, by number. ``stopped`` is set when it stops the service."""

    def __init__(self, http: httpx.AsyncClient, tasks: TaskGroup, side: Side) -> None:
        self.stopped = anyio.Event()
        self._side = side
        self._callbacks = Callbacks(http)
        self._tasks = tasks
        self._numbers = itertools.count(1)
        self._entities: dict[int, Entity] = {}

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/", self._status, methods=["GET"]),
                Route("/", self._create, methods=["POST"]),
                Route("/", self._stop, methods=["DELETE"]),
                Route("/clients/{number:int}", self._command, methods=["POST"]),
                Route("/clients/{number:int}", self._close, methods=["DELETE"]),
            ]
        )

    async def aclose(self) -> None:
        """Closes every client that is left."""
        while self._entities:
            await self._entities.popitem()[1].aclose()

    async def _status(self, _: Request) -> Response:
        return _json({"name": "aioflags", "clientVersion": __version__, "capabilities": self._side.capabilities})

    async def _stop(self, _: Request) -> Response:
        self.stopped.set()
        return Response(status_code=204)

    async def _create(self, request: Request) -> Response:
        try:
            params = msgspec.json.decode(await request.body(), type=CreateInstanceParams)
            # Named after the test, so that each line of the log names its test.
            logger = logging.getLogger(f"contract.{params.tag}")
            surroundings = Surroundings(callbacks=self._callbacks, tasks=self._tasks, logger=logger)
            entity = self._side.create(params.configuration, surroundings)
        except (msgspec.DecodeError, ConfigError) as error:
            return PlainTextResponse(str(error), 400)
        problem = await entity.start()
        if problem is not None and not params.configuration.init_can_fail:
            await entity.aclose()
            return PlainTextResponse(f"not initialized: {problem}", 500)
        number = next(self._numbers)
        self._entities[number] = entity
        return Response(status_code=201, headers={"Location": f"/clients/{number}"})

    async def _command(self, request: Request) -> Response:
        entity = self._entities.get(request.path_params["number"])
        if entity is None:
            return _unknown(request)
        try:
            answer = await run_command(self._side.commands, entity, await request.body())
        except (msgspec.DecodeError, CommandError, ConfigError) as error:
            return PlainTextResponse(str(error), 400)
        except OperationError as error:
            return PlainTextResponse(str(error), 500)
        return Response(status_code=204) if answer is None else _json(answer)

    async def _close(self, request: Request) -> Response:
        entity = self._entities.pop(request.path_params["number"], None)
        if entity is None:
            return _unknown(request)
        await entity.aclose()
        return Response(status_code=204)


@asynccontextmanager
async def running(side: Side) -> AsyncGenerator[Service, None]:
    """A service for that SDK, with tasks and connections for the callbacks of its clients. They are closed at the end."""
    async with httpx.AsyncClient(trust_env=False) as http, anyio.create_task_group() as tasks:
        service = Service(http, tasks, side)
        try:
            yield service
        finally:
            with anyio.CancelScope(shield=True):
                await service.aclose()
            tasks.cancel_scope.cancel()


def _json(answer: Any) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _unknown(request: Request) -> Response:
    return PlainTextResponse(f"there is no client {request.path_params['number']}", 404)
