"""A FastAPI service that asks flags.

Run it in this folder, with the key of an environment, or against the development server (docs/how-to/fastapi.md)::

    LAUNCHDARKLY_SDK_KEY=sdk-your-key uvicorn fastapi_app:app
"""

from collections.abc import Callable

from fastapi import APIRouter, FastAPI, Request, Response

from aioflags import Client, Context
from aioflags.fastapi import CurrentClient, CurrentFlags, lifespan

router = APIRouter()


@router.get("/checkout")
async def checkout(flags: CurrentFlags) -> str:
    return "the new checkout" if flags.variation("new-checkout", False) else "the old checkout"


@router.get("/price")
def price(flags: CurrentFlags) -> int:
    return 100 - flags.variation("discount", 0)  # a plain function, which FastAPI runs in a thread


@router.get("/ready")
async def ready(client: CurrentClient) -> Response:
    return Response(status_code=200 if client.is_initialized and not client.report.is_final else 503)


def user_of(request: Request) -> Context:
    """Whom a request is for. A real service takes that from its session or token."""
    user = request.headers.get("x-user")
    if not user:
        return Context("a visitor", anonymous=True)
    return Context(user, attributes={"plan": request.headers.get("x-plan", "free")})


def create_app(client: Client | Callable[[], Client]) -> FastAPI:
    app = FastAPI(lifespan=lifespan(client, context=user_of))
    app.include_router(router)
    return app


app = create_app(Client.from_env)
