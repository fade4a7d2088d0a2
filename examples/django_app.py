"""A Django site that asks flags: settings, views, URLs and the ASGI application in one file.

Run it in this folder, with the key of an environment, or against the development server (docs/how-to/django.md)::

    LAUNCHDARKLY_SDK_KEY=sdk-your-key uvicorn django_app:application
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from aioflags import Client, Context
from aioflags.django import FlagsRequest, asgi, current_client


def user_of(request: HttpRequest) -> Context:
    """Whom a request is for. A real site takes that from its session or token."""
    user = request.headers.get("x-user")
    if not user:
        return Context("a visitor", anonymous=True)
    return Context(user, attributes={"plan": request.headers.get("x-plan", "free")})


settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for this example"),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["aioflags.django.RequestFlagsMiddleware"],
    AIOFLAGS={"CLIENT": Client.from_env, "CONTEXT": user_of},
)


async def checkout(request: FlagsRequest) -> HttpResponse:
    flags = await request.aflags()
    return HttpResponse("the new checkout" if flags.variation("new-checkout", False) else "the old checkout")


def price(request: FlagsRequest) -> HttpResponse:
    return JsonResponse(100 - request.flags.variation("discount", 0), safe=False)  # a plain view, which Django runs in a thread


async def ready(_request: HttpRequest) -> HttpResponse:
    client = current_client()
    return HttpResponse(status=200 if client.is_initialized and not client.report.is_final else 503)


urlpatterns = [path("checkout", checkout), path("price", price), path("ready", ready)]

application = asgi(get_asgi_application())
