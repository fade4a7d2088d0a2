"""HttpTransport with a scripted service: responses, redirects and failures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest
import respx

from aioflags.errors import ConfigError
from aioflags.model.status import FailureKind
from aioflags.protocol.failures import http_failure, network_failure
from aioflags.transport.http import HttpTransport
from aioflags.transport.http_client import RequestFailed
from aioflags.transport.settings import Http
from tests.support.canaries import KEY
from tests.support.full_loop import FullLoop, run_full
from tests.support.http_libraries import HttpLibrary, http_of
from tests.support.scripted_http import HANG, Answer, Body, Service, stream_of

IDENTITY = {
    "Authorization": KEY,
    "User-Agent": "AioFlags/1",
    "X-LaunchDarkly-Instance-Id": "i",
    "X-LaunchDarkly-Tags": "t",
    "X-LaunchDarkly-Wrapper": "w",
    "If-None-Match": '"1"',
}
HOME = "https://home.test/sdk/poll"
FINE = Answer(200, {"X-Found": "yes"}, [b"body"])


Serving: TypeAlias = Callable[..., Service]


@pytest.fixture
def serving(library: HttpLibrary) -> Serving:
    """Makes a service whose clients are of ``library``."""
    return partial(Service, library=library)


def to(location: str, status: int = 302) -> Answer:
    return Answer(status, {"Location": location})


async def got(service: Service, url: str = HOME, **options: object) -> bytes:
    async with HttpTransport(service.http(**options)) as transport, transport.get(url, IDENTITY) as reply:
        return await reply.read()


async def failed(service: Service, url: str = HOME, **options: object) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        await got(service, url, **options)
    assert service.all_closed
    return caught.value


# -- answers


async def test_status_and_headers_are_available_before_the_body(serving: Serving) -> None:
    service = serving(Answer(200, {"X-One": "1"}, [5.0, b"bo", b"dy"]))
    async with HttpTransport(service.http()) as transport:
        start = anyio.current_time()
        async with transport.get(HOME, IDENTITY) as reply:
            assert anyio.current_time() == start
            assert (reply.status, reply.headers["x-one"]) == (200, "1")
            assert await reply.read() == b"body"
        async with transport.get(HOME, IDENTITY) as reply:
            pass
    assert service.all_closed
    assert len(service.clients) == 1


async def test_repeated_headers_are_joined(library: HttpLibrary) -> None:
    async def answer(_: object) -> Any:
        return library.Response(200, headers=[("X-LD-FD-Fallback", "true"), ("x-ld-fd-fallback", "true")])

    http = Http(client_factory=lambda: library.AsyncClient(transport=library.MockTransport(answer), trust_env=False))
    async with HttpTransport(http) as transport, transport.get(HOME, {}) as reply:
        assert reply.headers == {"x-ld-fd-fallback": "true, true"}


@pytest.mark.parametrize("status", [200, 304])
async def test_a_success_is_a_reply(serving: Serving, status: int) -> None:
    async with HttpTransport(serving(Answer(status)).http()) as transport, transport.get(HOME, {}) as reply:
        assert reply.status == status


@pytest.mark.parametrize("status", [300, 302, 399, 400, 401, 404, 429, 500, 503, 599])
async def test_every_other_status_is_a_failure_with_its_headers(serving: Serving, status: int) -> None:
    failure = await failed(serving(Answer(status, {"X-Why": "because", "Retry-After": "5"})))
    assert (failure.error.kind, failure.error.status_code) == (FailureKind.ERROR_RESPONSE, status)
    assert failure.headers["x-why"] == "because"
    assert failure.is_recoverable == (status not in {401, 404})
    assert failure.retry_after == (5 if status in {429, 503} else 0)


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 207, 226, 299])
async def test_a_success_without_a_whole_payload_is_a_failure_that_may_pass(serving: Serving, status: int) -> None:
    failure = await failed(serving(Answer(status, {"X-LD-FD-Fallback": "true"}, [b"half"])))
    assert (failure.error.kind, failure.error.status_code) == (FailureKind.ERROR_RESPONSE, status)
    assert failure.is_recoverable
    assert failure.headers["x-ld-fd-fallback"] == "true"


@pytest.mark.parametrize("status", [201, 204, 206, 304])
async def test_a_stream_requires_status_200(serving: Serving, status: int) -> None:
    service = serving(Answer(status))
    async with HttpTransport(service.http()) as transport:
        with pytest.raises(RequestFailed) as caught:
            async with transport.open_stream(HOME, {}):
                pass
    assert caught.value.error.status_code == status
    assert caught.value.is_recoverable
    assert service.all_closed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_request_with_a_body_is_a_report_also_after_a_redirect(serving: Serving, status: int) -> None:
    for stream in (False, True):
        last = stream_of() if stream else FINE
        service = serving(to("/there", status), last)
        async with HttpTransport(service.http()) as transport:
            send = transport.open_stream if stream else transport.get
            async with send(HOME, IDENTITY, b'{"key":"k"}'):
                pass
        sent = [(request.method, request.url.path, request.read(), request.headers["content-type"]) for request in service.requests]
        expected = ("REPORT", b'{"key":"k"}', "application/json")
        assert [(method, body, kind) for method, _, body, kind in sent] == [expected, expected]
        assert [path for _, path, _, _ in sent] == ["/sdk/poll", "/there"]


async def test_a_request_without_a_body_has_no_content_type(serving: Serving) -> None:
    service = serving(FINE)
    await got(service)
    assert service.requests[0].method == "GET"
    assert "content-type" not in service.requests[0].headers


@pytest.mark.parametrize(
    "url",
    ["home.test/no-scheme", "ftp://home.test/", "https://", "http://[::1", "https://home.test:99999/", "https://xn--a/"],
)
async def test_an_invalid_url_is_a_failure_of_the_request(library: HttpLibrary, url: str) -> None:
    async with HttpTransport(http_of(library)) as transport:
        with pytest.raises(RequestFailed) as caught:
            async with transport.get(url, {}):
                pass
        with pytest.raises(RequestFailed):
            await transport.post(url, {}, b"{}")
    assert caught.value.error.kind is FailureKind.NETWORK_ERROR


async def test_the_message_of_a_failure_is_the_same_for_both_libraries(serving: Serving) -> None:
    for error, message in (
        (httpx.ConnectError("refused"), "ConnectError: refused (home.test)"),
        (httpx.ReadTimeout(""), "ReadTimeout (home.test)"),
        (ConnectionResetError("reset by home.test"), "ConnectionResetError: reset by home.test"),
    ):
        assert (await failed(serving(Answer(after=error)))).error.message == message


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        pytest.param(httpx.Client, r"httpx\.Client", id="an httpx client for programs without asyncio"),
        pytest.param(httpx2.Client, r"httpx2\.Client", id="an httpx2 client for programs without asyncio"),
        pytest.param(dict[str, Any], r"builtins\.dict", id="another value"),
    ],
)
async def test_a_factory_that_returns_something_else_is_a_failure_of_the_request(wrong: Callable[..., Any], kind: str) -> None:
    product = wrong(trust_env=False, verify=False)
    async with HttpTransport(Http(client_factory=lambda: product)) as transport:
        with pytest.raises(
            RequestFailed, match=rf"client_factory: expected an httpx.AsyncClient or an httpx2.AsyncClient, got {kind}"
        ) as caught:
            async with transport.get(HOME, {}):
                pass
    assert isinstance(caught.value.__cause__, ConfigError)


def no_client(_: HttpLibrary) -> NoReturn:
    raise LookupError("a bug")


def broken_client(library: HttpLibrary) -> Any:
    async def answer(_: object) -> NoReturn:
        raise LookupError("a bug")

    return library.AsyncClient(transport=library.MockTransport(answer), trust_env=False)


@pytest.mark.parametrize("factory", [pytest.param(no_client, id="the factory"), pytest.param(broken_client, id="its client")])
async def test_an_unexpected_exception_is_a_failure_of_the_request_with_one_traceback(
    library: HttpLibrary, factory: Callable[[HttpLibrary], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with HttpTransport(Http(client_factory=lambda: factory(library))) as transport:
        for request in (
            transport.post(HOME, {}, b"[]"),
            transport.post(HOME, {}, b"[]"),
            _head(transport.get),
            _head(transport.open_stream),
        ):
            with pytest.raises(RequestFailed, match="LookupError: a bug") as caught:
                await request
            assert (caught.value.error.kind, caught.value.is_recoverable) == (FailureKind.UNKNOWN, True)
    (record,) = caplog.records
    assert record.message.startswith("the HTTP client failed: ")
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(httpx.InvalidURL("Invalid port: ':'"), "InvalidURL: Invalid port: ':'", id="an invalid URL, as of NO_PROXY"),
        pytest.param(FileNotFoundError(2, "No such file", "ca.pem"), "FileNotFoundError: .*'ca.pem'", id="a missing certificate"),
        pytest.param(ConnectionRefusedError("asked for a token"), "ConnectionRefusedError: asked", id="a failure of the network"),
        pytest.param(ValueError("a bad value"), "ValueError: a bad value", id="a bad value"),
    ],
)
async def test_what_a_factory_raises_is_not_taken_for_a_failure_of_the_network_or_the_address(
    error: Exception, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> NoReturn:
        raise error

    async with HttpTransport(Http(client_factory=fails)) as transport:
        with pytest.raises(RequestFailed, match=f"client_factory raised {text}") as caught:
            await transport.post(HOME, {}, b"[]")
    assert caught.value.error.kind is FailureKind.UNKNOWN
    assert HOME.partition("//")[2] not in str(caught.value)
    (record,) = caplog.records
    assert record.message.startswith("the HTTP client failed: ")


async def _head(open_: Callable[[str, dict[str, str]], AbstractAsyncContextManager[object]]) -> None:
    async with open_(HOME, {}):
        pass


async def test_the_failure_of_a_broken_body_has_the_headers(serving: Serving) -> None:
    failure = await failed(serving(Answer(200, {"X-LD-FD-Fallback": "true"}, [b"bo", httpx.ReadError("reset")])))
    assert failure.error.kind is FailureKind.NETWORK_ERROR
    assert failure.headers["x-ld-fd-fallback"] == "true"


async def test_the_failure_of_a_stream_that_is_a_web_page_has_the_way_out(serving: Serving) -> None:
    service = serving(Answer(200, {"Content-Type": "text/html; charset=utf-8"}, [b"<html>"]))
    async with HttpTransport(service.http()) as transport, transport.open_stream(HOME, {}) as stream:
        with pytest.raises(RequestFailed, match=r"^content type 'text/html' is not an event stream: it is a web page; is the"):
            await anext(stream.events())


async def test_a_response_that_does_not_arrive_times_out(serving: Serving) -> None:
    start = anyio.current_time()
    failure = await failed(serving(Answer(after=HANG)))
    assert anyio.current_time() - start == 25
    assert "25 s" in failure.error.message


async def test_the_headers_of_a_stream_have_to_arrive_as_soon_as_those_of_a_poll(serving: Serving) -> None:
    service = serving(Answer(after=HANG))
    start = anyio.current_time()
    async with HttpTransport(service.http()) as transport:
        with pytest.raises(RequestFailed, match="no answer within 25 s"):
            async with transport.open_stream(HOME, {}):
                pass
    assert anyio.current_time() - start == 25
    assert service.all_closed


@pytest.mark.holds("CS-O26")
async def test_requests_have_the_time_limits_of_the_options(respx_mock: respx.MockRouter) -> None:
    route = respx_mock.get(HOME).respond(200)
    async with HttpTransport(Http(connect_timeout=2, read_timeout=3)) as transport, transport.get(HOME, {}):
        pass
    limits = route.calls.last.request.extensions["timeout"]
    assert (limits["connect"], limits["read"]) == (2, 3)


@pytest.mark.holds("CS-O26")
async def test_requests_are_made_by_the_client_of_the_factory(serving: Serving) -> None:
    service = serving(FINE)
    assert await got(service) == b"body"
    assert len(service.clients) == len(service.requests) == 1


async def test_a_client_without_timeouts_keeps_none(serving: Serving) -> None:
    service = serving(Answer(after=10_000.0))
    client = service.client()
    client.timeout = service.library.Timeout(None)
    async with HttpTransport(Http(client_factory=lambda: client)) as transport, transport.get(HOME, {}) as reply:
        assert reply.status == 200


async def test_polls_may_be_compressed_and_streams_may_not(serving: Serving) -> None:
    service = serving(FINE, stream_of())
    async with HttpTransport(service.http()) as transport:
        async with transport.get(HOME, IDENTITY):
            pass
        async with transport.open_stream(HOME, IDENTITY):
            pass
    poll, stream = service.requests
    assert (poll.headers["Accept-Encoding"], stream.headers["Accept-Encoding"]) == ("gzip", "identity")


async def test_a_stream_may_be_silent_longer_than_a_poll(serving: Serving) -> None:
    service = serving(stream_of(250.0, b"data: 1\n\n"))
    async with HttpTransport(service.http()) as transport, transport.open_stream(HOME, {}) as stream:
        event = await anext(stream.events())
        assert (event.event, event.data) == ("message", "1")
    timeouts = service.requests[0].extensions["timeout"]
    assert (timeouts["connect"], timeouts["read"]) == (10, 300)


async def test_each_stream_has_its_own_client_which_is_closed_with_it(serving: Serving) -> None:
    service = serving(stream_of(b"data: 1\n\n"))
    async with HttpTransport(service.http()) as transport:
        for count in (1, 2, 3):
            async with transport.open_stream(HOME, {}):
                assert [client.is_closed for client in service.clients] == [True] * (count - 1) + [False]
            assert service.all_closed


async def test_closing_is_bounded_when_a_connection_does_not_close(library: HttpLibrary) -> None:
    class Stuck(Body):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    async def answer(_: object) -> Any:
        return library.Response(200, stream=Stuck([]))

    client = library.AsyncClient(transport=library.MockTransport(answer), trust_env=False)
    start = anyio.current_time()
    async with HttpTransport(Http(client_factory=lambda: client)) as transport, transport.open_stream(HOME, {}):
        pass
    assert anyio.current_time() - start <= 1
    assert client.is_closed


async def test_a_transport_that_was_not_used_has_nothing_to_close() -> None:
    def factory() -> httpx.AsyncClient:
        raise AssertionError("no client was needed")

    async with HttpTransport(Http(client_factory=factory)):
        pass


async def test_requests_at_the_same_time_share_the_start(respx_mock: respx.MockRouter) -> None:
    route = respx_mock.get(HOME).respond(text="body")
    bodies: list[bytes] = []

    async def ask(transport: HttpTransport) -> None:
        async with transport.get(HOME, {}) as reply:
            bodies.append(await reply.read())

    async with HttpTransport(Http()) as transport, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask, transport)
    assert bodies == [b"body"] * 5
    assert route.call_count == 5


async def note_refusal(transport: HttpTransport, refused: list[RequestFailed]) -> None:
    with pytest.raises(RequestFailed) as caught:
        async with transport.get(HOME, IDENTITY):
            pass
    refused.append(caught.value)


async def test_a_request_that_starts_while_the_transport_closes_is_refused_and_keeps_nothing_open(serving: Serving) -> None:
    service, refused = serving(FINE), list[RequestFailed]()
    transport = HttpTransport(service.http())

    async with anyio.create_task_group() as group, transport:
        group.start_soon(note_refusal, transport, refused)
        await anyio.lowlevel.checkpoint()
    await note_refusal(transport, refused)
    assert [failure.error.message for failure in refused] == ["the connections are closed"] * 2
    assert service.requests == []
    async with transport, transport.get(HOME, IDENTITY) as reply:
        assert await reply.read() == b"body"


async def test_a_redirect_is_not_followed_after_the_transport_was_closed(serving: Serving) -> None:
    service, refused = serving(Answer(302, {"Location": "/other"}, after=2), FINE), list[RequestFailed]()
    transport = HttpTransport(service.http())

    async with anyio.create_task_group() as group, transport:
        group.start_soon(note_refusal, transport, refused)
        await anyio.sleep(1)
    assert len(service.requests) == 1
    assert refused[0].error.message.startswith("the connections are closed")


# -- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/other?x=1", "https://home.test/other?x=1"),
        ("other", "https://home.test/sdk/other"),
        ("https://HOME.test:443/other", "https://home.test/other"),
    ],
)
async def test_a_redirect_within_the_origin_is_followed(serving: Serving, status: int, location: str, target: str) -> None:
    service = serving(to(location, status), FINE)
    assert await got(service) == b"body"
    assert str(service.requests[1].url) == target
    assert service.requests[1].headers["authorization"] == KEY


@pytest.mark.parametrize(
    "location", ["https://anna:secret@home.test/other", "//anna@home.test/other", "https://:secret@HOME.test:443/other"]
)
async def test_a_user_and_password_in_a_redirect_are_dropped(serving: Serving, location: str) -> None:
    service = serving(to(location), FINE)
    assert await got(service) == b"body"
    assert str(service.requests[1].url) == "https://home.test/other"
    assert service.requests[1].headers["authorization"] == KEY


async def test_an_allowed_origin_gets_no_user_and_password(serving: Serving) -> None:
    service = serving(to("https://anna:secret@elsewhere.test/"), FINE)
    assert await got(service, redirect_origins=["https://elsewhere.test"]) == b"body"
    assert str(service.requests[1].url) == "https://elsewhere.test/"
    assert "authorization" not in service.requests[1].headers


@pytest.mark.holds("RB-R26")
@pytest.mark.parametrize(
    "location",
    [
        pytest.param("https://elsewhere.test/", id="another host"),
        pytest.param("https://sub.home.test/", id="a subdomain"),
        pytest.param("https://home.test:8443/", id="another port"),
        pytest.param("http://home.test/", id="from https to http"),
        pytest.param("//elsewhere.test/", id="another host without a scheme"),
        pytest.param("ftp://home.test/", id="another scheme"),
        pytest.param("http://[", id="no host"),
    ],
)
async def test_a_redirect_to_another_origin_is_not_followed(serving: Serving, location: str) -> None:
    service = serving(to(location), FINE)
    failure = await failed(service)
    assert (failure.error.status_code, failure.is_recoverable) == (302, True)
    assert len(service.requests) == 1


async def test_a_redirect_without_a_target_is_a_failure(serving: Serving) -> None:
    assert (await failed(serving(Answer(302), FINE))).error.status_code == 302
    assert (await failed(serving(to("https://home.test:port/"), FINE))).is_recoverable


@pytest.mark.parametrize(
    "location",
    [
        "https://xn--a/",
        "//xn--",
        "https://xn--zckzah\\\\443",
        "://..",
        "//]@",
        ":ftp://",
        ":http://[1.2.3.4",
        "https://[::1%zone]/",
    ],
)
async def test_a_redirect_to_a_name_that_cannot_be_one_is_a_failure(serving: Serving, location: str) -> None:
    """For some of these the libraries raise a ``ValueError`` that is not one of their own exceptions."""
    service = serving(to(location), FINE)
    assert (await failed(service)).is_recoverable
    assert len(service.requests) == 1
    service.takes = [to(location)]
    async with HttpTransport(service.http()) as transport:
        with suppress(RequestFailed):
            assert (await transport.post(HOME, {}, b"{}")).status == 302
    assert service.all_closed


@pytest.mark.parametrize("allowed", ["https://bücher.test", "https://xn--bcher-kva.test"])
async def test_an_international_name_of_an_allowed_origin_may_be_written_in_both_forms(serving: Serving, allowed: str) -> None:
    service = serving(to("https://XN--BCHER-KVA.test/"), FINE)
    assert await got(service, redirect_origins=["https://xn--a", allowed]) == b"body"


@pytest.mark.parametrize(("hops", "followed"), [(3, True), (4, False)])
async def test_three_redirects_are_followed_and_no_more(serving: Serving, hops: int, followed: bool) -> None:
    service = serving(*[to(f"/{hop}") for hop in range(hops)], FINE)
    if followed:
        assert await got(service) == b"body"
    else:
        assert (await failed(service)).error.status_code == 302
    assert len(service.requests) == 4


@pytest.mark.holds("RB-R26")
async def test_an_allowed_origin_gets_no_identifying_headers(serving: Serving) -> None:
    service = serving(to("https://elsewhere.test/a"), to("/b"), to("https://home.test/c"), FINE)
    origins = ["https://elsewhere.test", "https://home.test"]
    assert await got(service, redirect_origins=origins) == b"body"
    assert [request.url.host for request in service.requests] == ["home.test", "elsewhere.test", "elsewhere.test", "home.test"]
    for request in service.requests[1:]:
        names = {name for name in request.headers if name not in {"host", "connection"}}
        assert names == {"accept", "accept-encoding", "user-agent", "if-none-match"}


@pytest.mark.holds("RB-R26")
async def test_an_allowed_origin_does_not_allow_others(serving: Serving) -> None:
    service = serving(to("https://elsewhere.test/a"), to("https://third.test/b"), FINE)
    await failed(service, redirect_origins=["https://elsewhere.test"])
    assert len(service.requests) == 2


async def test_streams_follow_redirects_like_polls(serving: Serving) -> None:
    service = serving(to("/b"), stream_of(b"data: 1\n\n"))
    async with HttpTransport(service.http()) as transport, transport.open_stream(HOME, IDENTITY) as stream:
        assert (await anext(stream.events())).data == "1"
    assert service.all_closed


# -- exchanges


async def exchanged(service: Service, method: str, body: bytes | None, **options: object) -> tuple[int, bytes]:
    async with (
        HttpTransport(service.http(**options)) as transport,
        transport.exchange(method, HOME, {"Content-Type": "application/json"}, body) as reply,
    ):
        return reply.status, await reply.read()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("status", [200, 304, 307, 400, 404, 413, 429, 500, 503])
async def test_an_exchange_accepts_every_status(serving: Serving, method: str, status: int) -> None:
    answer = Answer(status, {"Location": "https://other.test/"}, [b"bo", 1.0, b"dy"])
    service = serving(answer)
    service.takes = [answer]
    body = None if method == "GET" else b"[1]"
    assert await exchanged(service, method, body) == (status, b"body")
    (request,) = service.posts + service.requests
    assert (request.method, request.content, request.headers.get("content-length")) == (method, body or b"", body and "3")
    assert service.all_closed


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        pytest.param(Answer(200, {}, [b"x" * 11]), {"max_response_bytes": 10}, id="a body over the limit"),
        pytest.param(Answer(200, {"Content-Encoding": "br"}, [b"x"]), {}, id="a content coding that was not requested"),
        pytest.param(Answer(200, {}, [b"x", HANG]), {}, id="a body that stalls"),
        pytest.param(Answer(200, {}, [b"x", httpx.ReadError("cut")]), {}, id="a body that breaks off"),
        pytest.param(Answer(after=HANG), {}, id="no answer"),
        pytest.param(Answer(after=httpx.ConnectError("refused")), {}, id="no connection"),
    ],
)
async def test_an_exchange_without_a_usable_reply_fails_in_time(
    serving: Serving, answer: Answer, options: dict[str, object]
) -> None:
    service = serving()
    service.takes = [answer]
    start = anyio.current_time()
    with pytest.raises(RequestFailed):
        await exchanged(service, "POST", b"{}", **options)
    assert anyio.current_time() - start <= 25
    assert service.all_closed


# -- failures


@pytest.mark.parametrize(
    ("failure", "recoverable"),
    [
        (RequestFailed(network_failure("x")), True),
        (RequestFailed(http_failure(500)), True),
        (RequestFailed(http_failure(401)), False),
    ],
)
def test_whether_a_failure_is_recoverable(failure: RequestFailed, recoverable: bool) -> None:
    assert (failure.is_recoverable, failure.retry_after, dict(failure.headers)) == (recoverable, 0, {})


@pytest.mark.parametrize("option", ["ca_certs", "cert_file"])
async def test_the_failure_of_an_unreadable_certificate_has_the_option(option: str, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for path in (tmp_path / "absent.pem", junk):
        async with HttpTransport(Http(**{option: str(path)})) as transport:  # type: ignore[arg-type]  # one of two paths
            with pytest.raises(RequestFailed, match=f"{option}: ") as caught:
                async with transport.get(HOME, {}):
                    pass
        assert isinstance(caught.value.__cause__, ConfigError)


@pytest.mark.parametrize(
    "proxy",
    ["ftp://user:secret@proxy", "socks5://user:secret@proxy", "http://user:secret@proxy:port", "http://user:secret/word@proxy:80"],
)
async def test_an_unusable_proxy_is_a_failure_of_the_request(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    async with HttpTransport(Http()) as transport:
        with pytest.raises(RequestFailed, match="proxy cannot be used") as caught:
            async with transport.get(HOME, {}):
                pass
    assert "secret" not in caught.value.error.message


async def test_disabled_verification_is_logged(caplog: pytest.LogCaptureFixture, respx_mock: respx.MockRouter) -> None:
    respx_mock.get(HOME).respond(200)
    for off in (False, True):
        async with HttpTransport(Http(disable_ssl_verification=off)) as transport, transport.get(HOME, {}):
            pass
    assert caplog.text.count("disable_ssl_verification") == 1


@pytest.mark.real_time
def test_httpx_is_not_imported_before_the_first_request() -> None:
    script = (
        "import sys, aioflags.sources, aioflags.transport.http as http;"
        "http.HttpTransport(http.Http());"
        "print([name for name in ('httpx', 'httpx2', 'httpcore', 'httpcore2', 'httpx_sse') if name in sys.modules])"
    )
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=150)
    assert completed.stdout.strip() == "[]"


def test_a_transport_that_gets_no_thread_fails_the_request_and_the_next_one_may_start() -> None:
    async def requests() -> None:
        async with HttpTransport(Http()) as transport:
            for loop.is_full in (True, False):
                with pytest.raises(RequestFailed) as failed:
                    async with transport.get("http://127.0.0.1:9/", {}):
                        pass
                kinds.append(failed.value.error.kind)

    kinds: list[FailureKind] = []
    loop = FullLoop()
    run_full(requests(), loop)
    assert kinds == [FailureKind.UNKNOWN, FailureKind.NETWORK_ERROR]


ONE_POLL = """
import asyncio, sys
from aioflags.transport.http import HttpTransport
from aioflags.transport.settings import Http

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nbody")
    writer.close()

async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, HttpTransport(Http()) as transport:
        async with transport.get(f"http://localhost:{server.sockets[0].getsockname()[1]}/", {}) as reply:
            assert await reply.read() == b"body"
        (client,) = transport._connections._shared._clients.values()
        resolver = client._transport._pool._network_backend
        print(type(client).__module__, type(resolver).__name__, *sorted({"httpcore", "httpcore2", "httpx2"} & sys.modules.keys()))

asyncio.run(main())
"""


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("before", "printed"),
    [
        pytest.param("", "httpx DaemonResolver httpcore", id="httpx alone, unless the program uses httpx2"),
        pytest.param(
            "import httpx2; httpx2.alias_httpx()",
            "httpx2 DaemonResolver httpcore httpcore2 httpx2",
            id="httpx2, if the program puts it in the place of httpx",
        ),
    ],
)
def test_the_library_of_clients_without_a_factory(before: str, printed: str) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", f"{before}\n{ONE_POLL}"], capture_output=True, text=True, check=False, timeout=150
    )
    assert (completed.stdout.strip(), completed.stderr) == (printed, "")
