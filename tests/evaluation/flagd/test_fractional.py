"""The operator ``fractional``: the tables of ``flagd.md`` 10, for both versions, and the shares of the buckets."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioflags.evaluation.flagd.fractional import encode, murmur3, seed_hash, subject_hash
from aioflags.evaluation.flagd.targeting import compile_targeting
from aioflags.evaluation.openfeature import context_data

ALPHA_BETA_GAMMA = [["alpha", 50], ["beta", 30], ["gamma", 20]]
SEED = {"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}
KEY = {"var": "targetingKey"}


def run(arguments: Any, key: str | None = "t", flag: str = "edge", version: int = 3, **attributes: Any) -> Any:
    return compile_targeting({"fractional": arguments}, flag, version)(context_data(attributes, key))


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0), (b"a", 0x3C2569B2), (b"abc", 0xB3DD93FA), (b"abcd", 0x43ED676A), (b"hello", 0x248BFA47)],
)
def test_murmur3_has_its_check_values(data: bytes, value: int) -> None:
    assert murmur3(data) == value


SEEDED = [
    (1, "ada@example.com", "781a", 2391542196, "beta", 1166133341, "alpha"),
    (2, "bob@example.com", "781a", 699082150, "alpha", 627443327, "alpha"),
    (3, "cleo@example.com", "781b", 1480659755, "alpha", 1927949550, "alpha"),
    (4, "dmitri@example.com", "781d", 3333474694, "beta", 734258207, "alpha"),
    (5, "eve@example.com", "781a", 578245698, "alpha", 376959434, "alpha"),
    (6, "żółw@example.com", "781e", 3810232048, "gamma", 3914550219, "gamma"),
]


@pytest.mark.parametrize(
    ("email", "head", "hash_3", "variant_3", "hash_2", "variant_2"),
    [pytest.param(*row[1:], id=f"FL-53 {row[0]}: {row[1]}") for row in SEEDED],
)
def test_a_text_is_a_seed(email: str, head: str, hash_3: int, variant_3: str, hash_2: int, variant_2: str) -> None:
    text = "checkout-v2" + email

    assert encode(text).hex() == head + text.encode().hex()
    assert (seed_hash(3)(text), seed_hash(2)(text)) == (hash_3, hash_2)
    assert run([SEED, *ALPHA_BETA_GAMMA], flag="checkout-v2", email=email) == variant_3
    assert run([SEED, *ALPHA_BETA_GAMMA], flag="checkout-v2", email=email, version=2) == variant_2


@pytest.mark.parametrize(
    ("key", "hash_3", "variant_3", "hash_2", "variant_2"),
    [
        pytest.param("user-1001", 684986945, "on", 3715490003, "off", id="7"),
        pytest.param("user-1002", 1700545263, "on", 1552354821, "on", id="8"),
        pytest.param("user-1003", 3076472276, "off", 1351078884, "on", id="9"),
        pytest.param("user-1004", 1576846916, "on", 2413952239, "off", id="10"),
        pytest.param("7f3c", 3636119487, "off", 3738636724, "off", id="11"),
        pytest.param(None, None, None, None, None, id="12: no key"),
        pytest.param("", None, None, None, None, id="12: empty key"),
    ],
)
def test_without_seed_the_key_of_the_flag_and_the_targeting_key_are_hashed(
    key: str | None, hash_3: int | None, variant_3: str | None, hash_2: int | None, variant_2: str | None
) -> None:
    flag = "search-ranker"

    assert (subject_hash(flag, 3)(key), subject_hash(flag, 2)(key)) == (hash_3, hash_2)
    assert run([["on"], ["off"]], key, flag) == variant_3
    assert run([["on"], ["off"]], key, flag, version=2) == variant_2
    assert run([{"merge": ["on"]}, ["off"]], key, flag) == variant_3, "the first bucket is computed"


@pytest.mark.parametrize(
    ("key", "hash_3", "hash_2"),
    [pytest.param("user-1001", 3085233500, 582878333, id="13"), pytest.param("user-1003", 589561124, 1055148423, id="14")],
)
def test_the_targeting_key_can_be_a_seed(key: str, hash_3: int, hash_2: int) -> None:
    assert (seed_hash(3)(key), seed_hash(2)(key)) == (hash_3, hash_2)
    assert run([KEY, ["on", 1], ["off", 999]], key) == run([KEY, ["on", 1], ["off", 999]], key, version=2) == "off"


@pytest.mark.parametrize(
    ("seed", "cbor", "hash_", "variant"),
    [
        pytest.param(42, "182a", 1424811390, "alpha", id="15"),
        pytest.param(42.0, "182a", 1424811390, "alpha", id="16"),
        pytest.param(-7, "26", 619178129, "alpha", id="17"),
        pytest.param(3.75, "f94380", 278052873, "alpha", id="18"),
        pytest.param(0.0025, "fb3f647ae147ae147b", 3540264053, "gamma", id="19"),
        pytest.param(1e19, "1b8ac7230489e80000", 2248586490, "beta", id="20"),
        pytest.param(100000.0, "1a000186a0", 1985283328, "alpha", id="21"),
        pytest.param(-1.5, "f9be00", 3736854702, "gamma", id="22"),
        pytest.param(-9223372036854775808, "3b7fffffffffffffff", 345277741, "alpha", id="23"),
        pytest.param(18446744073709551615, "1bffffffffffffffff", 1908111393, "alpha", id="24"),
        pytest.param(True, "f5", 836216331, "alpha", id="25"),
        pytest.param({"org": 7, "plan": "pro"}, "a2636f72670764706c616e6370726f", 199712960, "alpha", id="26"),
        pytest.param({"plan": "pro", "org": 7.0}, "a2636f72670764706c616e6370726f", 199712960, "alpha", id="27"),
        pytest.param({"ids": [1, 2, {}]}, "a163696473830102a0", 3589001408, "gamma", id="28"),
    ],
)
def test_other_values_are_seeds_in_version_3_only(seed: Any, cbor: str, hash_: int, variant: str) -> None:
    assert encode(seed).hex() == cbor
    assert seed_hash(3)(seed) == hash_
    assert run([{"var": "seed"}, *ALPHA_BETA_GAMMA], seed=seed) == variant
    assert run([{"var": "seed"}, *ALPHA_BETA_GAMMA], seed=seed, version=2) is None


@pytest.mark.parametrize(
    ("arguments", "attributes", "variant"),
    [
        pytest.param([{"var": "nope"}, ["alpha", 50], ["beta", 50]], {}, None, id="29, 56"),
        pytest.param([KEY, ["alpha", 0], ["beta", 0]], {}, None, id="30"),
        pytest.param([KEY, ["alpha", -5], ["beta", 1]], {}, "beta", id="31"),
        pytest.param([KEY, ["alpha", 0.5], ["beta", 0.5]], {}, None, id="32"),
        pytest.param([KEY, ["alpha", "1"]], {}, None, id="33"),
        pytest.param([KEY, ["alpha", 2147483647], ["beta", 1]], {}, None, id="34"),
        pytest.param([KEY, ["alpha", 2147483647]], {}, "alpha", id="35"),
        pytest.param([KEY, ["alpha", {"-": [10, 3]}], ["beta", 0]], {}, "alpha", id="36"),
        pytest.param([KEY, ["alpha", {"var": "w"}], ["beta", 1]], {}, None, id="37"),
        pytest.param([KEY, [{"var": "v"}, 1]], {"v": "nope"}, "nope", id="38"),
        pytest.param([KEY, [{"var": "v"}, 1]], {}, None, id="39"),
        pytest.param([KEY], {}, None, id="40: no bucket"),
        pytest.param([], {}, None, id="40: no argument"),
        pytest.param([KEY, []], {}, None, id="40: empty bucket"),
        pytest.param([KEY, ["alpha", 1, 2]], {}, None, id="40: three elements"),
        pytest.param(["salt", ["alpha", 1], ["beta", 1]], {}, "alpha", id="41"),
        pytest.param([{"merge": ["alpha", 1]}, ["beta", 0]], {}, "alpha", id="42"),
        pytest.param(["", ["alpha", 1], ["beta", 1]], {}, "alpha", id="43"),
        pytest.param([None, ["alpha", 1]], {}, None, id="44"),
        pytest.param([KEY, "alpha"], {}, None, id="a bucket that is not an array"),
        pytest.param([KEY, [["alpha"], 1]], {}, None, id="a variant that is an array"),
        pytest.param([KEY, [{"var": "v"}, 1]], {"v": {"a": 1}}, None, id="a variant that is an object"),
        pytest.param([KEY, ["alpha", True]], {}, None, id="a boolean as weight"),
        pytest.param([KEY, ["alpha", None]], {}, None, id="null as weight"),
        pytest.param([KEY, ["alpha", 1e300]], {}, None, id="a huge float as weight"),
        pytest.param([KEY, ["alpha", {"var": "w"}], ["beta"]], {"w": float("-inf")}, None, id="-inf as weight"),
        pytest.param([KEY, ["alpha", {"var": "w"}], ["beta"]], {"w": float("nan")}, None, id="NaN as weight"),
        pytest.param([KEY, [False, 1]], {}, False, id="a boolean as variant"),
        pytest.param([KEY, [7]], {}, 7, id="a number as variant"),
        pytest.param([{"var": "s"}, ["alpha"]], {"s": float("inf")}, None, id="infinity as seed"),
        pytest.param([{"var": "s"}, ["alpha"]], {"s": {"a": [float("nan")]}}, None, id="NaN in a seed"),
        pytest.param([{"var": "s"}, ["alpha"]], {"s": "\ud800"}, None, id="half a surrogate pair as seed"),
        pytest.param([{"var": "s"}, ["alpha"]], {"s": {"\ud800": 1}}, None, id="half a surrogate pair in a seed"),
        pytest.param([{"var": "s"}, ["alpha"]], {"s": 10**400}, None, id="an integer beyond all floats as seed"),
        pytest.param([{"var": "s"}, ["alpha"]], {"s": 2**64}, "alpha", id="a huge integer as seed"),
        pytest.param([{"var": "s"}, ["alpha"]], {"s": "long" * 1000}, "alpha", id="a long text as seed"),
    ],
)
def test_edges(arguments: Any, attributes: dict[str, Any], variant: Any) -> None:
    assert run(arguments, **attributes) == variant
    assert type(run(arguments, **attributes)) is type(variant)


@pytest.mark.parametrize(
    ("buckets", "variant"),
    [pytest.param([["a", 1], ["b", 1000000]], "b", id="45"), pytest.param([["a", 10.0], ["b", 1]], "a", id="46")],
)
def test_weights_may_be_large_and_may_have_a_decimal_point(buckets: Any, variant: str) -> None:
    assert subject_hash("f", 3)("u1") == 865603005
    assert run(buckets, "u1", "f") == variant


def test_43_the_empty_text_is_a_seed_in_version_2() -> None:
    assert run(["", ["alpha", 1], ["beta", 1]], version=2) == "alpha"


def test_a_huge_integer_is_encoded_as_a_float() -> None:
    assert encode(2**64) == encode(float(2**64)) == bytes.fromhex("fa5f800000")
    assert encode(-(2**63) - 1) == bytes.fromhex("fadf000000")


@pytest.mark.holds("FL-54")
def test_shares_follow_the_weights() -> None:
    """With a fifth of the keys of the scenario, which is enough for its limits: they are five standard deviations."""
    rule = compile_targeting({"fractional": [["a", 1], ["b", 1], ["c", 2]]}, "flag")
    generator = random.Random(54)
    count = 200_000

    variants = Counter(rule({"targetingKey": f"{generator.getrandbits(64):x}"}) for _ in range(count))

    assert variants["a"] / count == pytest.approx(0.25, abs=0.005)
    assert variants["b"] / count == pytest.approx(0.25, abs=0.005)
    assert variants["c"] / count == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("version", [pytest.param(2, id="FL-55 version 2"), pytest.param(3, id="FL-55 version 3")])
def test_two_flags_divide_the_same_keys_independently(version: int) -> None:
    one, other = (compile_targeting({"fractional": [["a"], ["b"]]}, flag, version) for flag in ("one", "other"))
    count = 20_000

    pairs = Counter((one({"targetingKey": f"k{n}"}), other({"targetingKey": f"k{n}"})) for n in range(count))

    assert len(pairs) == 4
    assert all(abs(number / count - 0.25) < 0.02 for number in pairs.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def is_seed(value: Any) -> bool:
    """An array is the first bucket."""
    return not isinstance(value, list)


@given(
    JSON.filter(is_seed), st.lists(st.tuples(st.text(), st.integers(-5, 10**9)), min_size=1, max_size=4), st.sampled_from([2, 3])
)
def test_a_bucket_of_weight_0_is_never_chosen(seed: Any, buckets: list[tuple[str, int]], version: int) -> None:
    variant = run([{"var": "seed"}, *map(list, buckets)], seed=seed, version=version)

    assert variant is None or variant in {name for name, weight in buckets if weight > 0}


@given(st.text(), st.text(), st.lists(st.integers(0, 1000), min_size=1, max_size=4))
def test_literal_buckets_and_computed_buckets_give_the_same_variant(flag: str, key: str, weights: list[int]) -> None:
    names = [f"v{position}" for position in range(len(weights))]
    literal = [[name, weight] for name, weight in zip(names, weights, strict=True)]
    computed = [[name, {"+": [weight, {"var": "zero"}]}] for name, weight in zip(names, weights, strict=True)]

    assert run(literal, key, flag) == run(computed, key, flag)
    assert run([KEY, *literal], key, flag) == run([KEY, *computed], key, flag)
