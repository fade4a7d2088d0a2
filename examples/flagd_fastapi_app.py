"""A FastAPI service that asks OpenFeature, with flags from flagd.

Run it in this folder, with ``pip install "aioflags[demo,flagd,openfeature]" fastapi``. The development server serves the flags
like flagd, without Docker. In two terminals::

    aioflags serve flagd_flags.json
    uvicorn flagd_fastapi_app:app

Then ask as a customer with the plan "pro", and as one without::

    curl http://127.0.0.1:8000/checkout -H "x-user: anna" -H "x-plan: pro"
    curl http://127.0.0.1:8000/checkout

While the server of the flags is stopped, both get the same answers, and ``/ready`` returns ``{"flags": "STALE"}``, later
``"ERROR"``, both with the code 200. Before the first flags its code is 503.
"""

# openfeature is a namespace package, whose py.typed pyright does not see.
# pyright: reportMissingTypeStubs=false

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import APIRouter, FastAPI, Request, Response
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ProviderNotReadyError

from aioflags import FlagdClient, FlagdConfig, Status
from aioflags.openfeature import AioFlagsProvider

router = APIRouter()


def user_of(request: Request) -> EvaluationContext:
    """Whom a request is for. A real service takes that from its session or token."""
    return EvaluationContext(request.headers.get("x-user"), {"plan": request.headers.get("x-plan", "free")})


def flags_of(request: Request) -> OpenFeatureClient:
    flags: OpenFeatureClient = request.app.state.flags
    return flags


@router.get("/checkout")
async def checkout(request: Request) -> str:
    is_new = await flags_of(request).get_boolean_value_async("new-checkout", False, user_of(request))
    return "the new checkout" if is_new else "the old checkout"


@router.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, Status]:
    """Whether the service has flags, also old ones. This is the rule for in-process: with rpc the status decides."""
    client: FlagdClient = request.app.state.flagd
    response.status_code = 200 if client.is_initialized and not client.report.is_final else 503
    return {"flags": client.status}


def create_app(make_client: Callable[[], FlagdClient]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        async with make_client() as client:
            with suppress(ProviderNotReadyError):  # flagd is away: evaluations return their defaults until flags arrive
                api.set_provider_and_wait(AioFlagsProvider(client))
            app.state.flagd, app.state.flags = client, api.get_client()
            yield
            api.shutdown()

    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    return app


app = create_app(lambda: FlagdClient(FlagdConfig(resolver="in-process", deadline=5)))
