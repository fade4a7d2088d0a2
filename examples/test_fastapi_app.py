"""Tests of the FastAPI service, with the fixtures of aioflags' pytest plugin: no account, no network."""

import pytest
from fastapi.testclient import TestClient

from aioflags.testing import MemoryClient
from examples.fastapi_app import create_app


@pytest.mark.parametrize(
    ("value", "page"), [pytest.param(True, "the new checkout", id="on"), pytest.param(False, "the old checkout", id="off")]
)
def test_the_checkout_follows_its_flag(flags: MemoryClient, value: bool, page: str) -> None:
    flags.set("new-checkout", value)
    with TestClient(create_app(flags)) as http:
        assert http.get("/checkout").json() == page


def test_a_flag_may_change_while_the_service_runs(flags: MemoryClient) -> None:
    with TestClient(create_app(flags)) as http:
        assert http.get("/price").json() == 100
        assert http.get("/price", headers={"x-user": ""}).json() == 100
        flags.set("discount", 20)
        assert http.get("/price").json() == 80


def test_the_discount_is_for_the_pro_plan(flags: MemoryClient) -> None:
    flags.update(flags.flag("discount").variations(0, 10).fallthrough_variation(0).if_match("plan", "pro").then_return(1))
    with TestClient(create_app(flags)) as http:
        assert http.get("/price", headers={"x-user": "anna", "x-plan": "pro"}).json() == 90
        assert http.get("/price", headers={"x-user": "bert"}).json() == 100
        assert http.get("/price").json() == 100
        assert http.get("/price", headers={"x-user": ""}).json() == 100


def test_it_is_ready(flags: MemoryClient) -> None:
    with TestClient(create_app(flags)) as http:
        assert http.get("/ready").status_code == 200
