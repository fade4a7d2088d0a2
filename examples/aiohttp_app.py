"""An aiohttp service that asks flags.

Run it in this folder, with the key of an environment, or against the development server (docs/how-to/aiohttp.md)::

    LAUNCHDARKLY_SDK_KEY=sdk-your-key python -m aiohttp.web aiohttp_app:main
"""

from collections.abc import Callable

from aiohttp import web

from aioflags import Client, Context
from aioflags.aiohttp import client_of, flags_of, setup

routes = web.RouteTableDef()


@routes.get("/checkout")
async def checkout(request: web.Request) -> web.Response:
    flags = await flags_of(request)
    return web.Response(text="the new checkout" if flags.variation("new-checkout", False) else "the old checkout")


@routes.get("/price")
async def price(request: web.Request) -> web.Response:
    flags = await flags_of(request)
    return web.json_response(100 - flags.variation("discount", 0))


@routes.get("/ready")
async def ready(request: web.Request) -> web.Response:
    client = client_of(request)
    return web.Response(status=200 if client.is_initialized and not client.report.is_final else 503)


def user_of(request: web.Request) -> Context:
    """Whom a request is for. A real service takes that from its session or token."""
    user = request.headers.get("x-user")
    if not user:
        return Context("a visitor", anonymous=True)
    return Context(user, attributes={"plan": request.headers.get("x-plan", "free")})


def create_app(client: Client | Callable[[], Client]) -> web.Application:
    app = web.Application()
    app.add_routes(routes)
    setup(app, client, context=user_of)
    return app


def main(_arguments: list[str]) -> web.Application:
    return create_app(Client.from_env)
