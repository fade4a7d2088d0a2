"""A Litestar service that asks flags.

Run it in this folder, with the key of an environment, or against the development server (docs/how-to/litestar.md)::

    LAUNCHDARKLY_SDK_KEY=sdk-your-key uvicorn litestar_app:app
"""

from collections.abc import Callable
from typing import Any

from litestar import Litestar, Response, get
from litestar.connection import ASGIConnection

from aioflags import Client, Context
from aioflags.litestar import CurrentClient, CurrentFlags, FlagsPlugin


@get("/checkout")
async def checkout(flags: CurrentFlags) -> str:
    return "the new checkout" if flags.variation("new-checkout", False) else "the old checkout"


@get("/price", sync_to_thread=True)
def price(flags: CurrentFlags) -> int:
    return 100 - flags.variation("discount", 0)  # a plain function, which Litestar runs in a thread


@get("/ready")
async def ready(flags_client: CurrentClient) -> Response[None]:
    is_ready = flags_client.is_initialized and not flags_client.report.is_final
    return Response(None, status_code=200 if is_ready else 503)


def user_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Context:
    """Whom a request is for. A real service takes that from its session or token."""
    user = connection.headers.get("x-user")
    if not user:
        return Context("a visitor", anonymous=True)
    return Context(user, attributes={"plan": connection.headers.get("x-plan", "free")})


def create_app(client: Client | Callable[[], Client]) -> Litestar:
    # Litestar's own logging_config sets up the loggers of the whole process, also of a test run, and keeps a thread.
    return Litestar([checkout, price, ready], plugins=[FlagsPlugin(client, context=user_of)], logging_config=None)


app = create_app(Client.from_env)
