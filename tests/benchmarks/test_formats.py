"""Every format has the same flags: each is read back here, and evaluated for both people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from aioflags import Client, Context
from tests.benchmarks.flagset import CASES, STRANGER, SUBJECT, FlagSet, Person, large, thousand
from tests.benchmarks.formats import eppo, launchdarkly, statsig

THOUSAND = thousand()
SMALL = large(200, 10)


def as_launchdarkly(flag_set: FlagSet) -> Callable[[str, Person], object]:
    client = Client.local(launchdarkly.document(flag_set))
    return lambda key, person: client.variation_nowait(key, Context(person.key, attributes=person.attributes))


def as_eppo(flag_set: FlagSet) -> Callable[[str, Person], object]:
    flags: Any = eppo.document(flag_set)["flags"]

    def answer(key: str, person: Person) -> object:
        flag, facts = flags[key], {**person.attributes, "id": person.key}
        if not flag["enabled"]:
            return False
        for allocation in flag["allocations"]:
            asked = [condition for rule in allocation["rules"] for condition in rule["conditions"]]
            if all(facts[condition["attribute"]] in condition["value"] for condition in asked):
                served = {flag["variations"][split["variationKey"]]["value"] for split in allocation["splits"]}
                return served.pop() if len(served) == 1 else None
        return False

    return answer


def as_statsig(flag_set: FlagSet) -> Callable[[str, Person], object]:
    specs: Any = statsig.document(flag_set)

    def passes(name: str, person: Person) -> bool:
        condition = specs["condition_map"][name]
        target = condition["targetValue"]
        match condition["type"]:
            case "public":
                return True
            case "unit_id":
                return person.key in target
            case "user_field":
                return person.attributes[condition["field"]] in target
            case "pass_gate":
                return answer(target, person) is True
            case other:
                assert other == "fail_gate"
                return answer(target, person) is not True

    def answer(key: str, person: Person) -> object:
        for rule in specs["feature_gates"][key]["rules"]:
            if all(passes(name, person) for name in rule["conditions"]):
                return rule["returnValue"] if rule["passPercentage"] == 100 else None
        return False

    return answer


@pytest.mark.parametrize("flag_set", [pytest.param(THOUSAND, id="a thousand flags"), pytest.param(SMALL, id="flags with segments")])
@pytest.mark.parametrize("read", [as_launchdarkly, as_eppo, as_statsig])
@pytest.mark.parametrize("person", [pytest.param(SUBJECT, id="the subject"), pytest.param(STRANGER, id="a stranger")])
def test_a_format_gives_the_answers_of_the_model(
    read: Callable[[FlagSet], Callable[[str, Person], object]], flag_set: FlagSet, person: Person
) -> None:
    answer = read(flag_set)
    wanted = {flag.key: flag_set.answer(flag.key, person) for flag in flag_set.flags}
    assert {key: answer(key, person) for key, right in wanted.items() if right is not None} == {
        key: right for key, right in wanted.items() if right is not None
    }


@pytest.mark.parametrize("read", [as_eppo, as_statsig])
def test_a_share_of_the_people_is_written_as_a_share(read: Callable[[FlagSet], Callable[[str, Person], object]]) -> None:
    assert read(THOUSAND)(CASES["E4"], SUBJECT) is None


def test_a_rollout_is_written_as_a_rollout() -> None:
    (rollout,) = [
        flag["fallthrough"]["rollout"]
        for key, flag in json.loads(json.dumps(launchdarkly.document(THOUSAND)))["flags"].items()
        if key == CASES["E4"]
    ]
    assert [(share["variation"], share["weight"]) for share in rollout["variations"]] == [(0, 50_000), (1, 50_000)]


def test_a_poll_a_stream_and_the_document_have_the_same_objects() -> None:
    polled = json.loads(launchdarkly.poll_body(SMALL))["events"]
    streamed = [
        {"event": name.removeprefix("event: "), "data": json.loads(data.removeprefix("data: "))}
        for name, data in (event.split("\n") for event in launchdarkly.stream_body(SMALL).decode().split("\n\n")[:-1])
    ]
    assert streamed == polled
    put = {(event["data"]["kind"], event["data"]["key"]): event["data"]["object"] for event in polled[1:-1]}
    document = json.loads(json.dumps(launchdarkly.document(SMALL)))
    assert put == {(kind.removesuffix("s"), key): value for kind in document for key, value in document[kind].items()}


@pytest.mark.parametrize(
    ("case", "subject", "stranger"),
    [
        pytest.param("E1", True, True, id="a flag without rules is on for both"),
        pytest.param("E2", True, False, id="a rule matches the subject alone"),
        pytest.param("E3", True, False, id="the last of ten rules matches the subject"),
        pytest.param("E4", None, None, id="the SDK decides a rollout"),
        pytest.param("E5", True, False, id="only the subject is in the segment"),
        pytest.param("E6", True, True, id="both prerequisites are on"),
    ],
)
def test_the_flag_of_a_case_has_the_value_for_each_person(case: str, subject: bool | None, stranger: bool | None) -> None:
    key = CASES[case]
    assert (THOUSAND.answer(key, SUBJECT), THOUSAND.answer(key, STRANGER)) == (subject, stranger)


def test_the_flag_sets_have_their_sizes_and_are_the_same_each_time() -> None:
    assert len({flag.key for flag in THOUSAND.flags}) == 1_000
    assert (len({flag.key for flag in SMALL.flags}), len({segment.key for segment in SMALL.segments})) == (200, 10)
    assert all(len(flag.rules) == 5 for flag in SMALL.flags)
    assert (thousand(), large(200, 10)) == (THOUSAND, SMALL)
