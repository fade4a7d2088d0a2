"""The engines that make inputs: atheris, which is guided by coverage, and a plain one that needs nothing.

Both mutate bytes, and JSON as JSON too. An input that fails is written to a file.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.reliability.mutations import mutated, mutated_bytes

LENGTH: Final = 8192
"""The longest input."""


def mutator(words: Sequence[str], *, is_json: bool) -> Callable[[bytes, int, int], bytes]:
    """Changes an input: as JSON in most cases, if it is JSON; otherwise some of its bytes."""
    tokens = [word.encode() for word in words]

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if is_json and chance.random() < 0.6:
            with contextlib.suppress(ValueError, RecursionError):
                return json.dumps(mutated(json.loads(data), chance)).encode(errors="surrogatepass")[:size]
        for _ in range(chance.choice([1, 1, 2, 4, 8])):
            data = _changed(data, tokens, chance)
        return data[:size]

    return mutate


def _changed(data: bytes, tokens: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    to = min(at + chance.choice([0, 1, 1, 2, 5, 30]), len(data))
    match chance.randrange(7):
        case 0:
            middle = bytes(byte ^ (1 << chance.randrange(8)) for byte in data[at:to])
        case 1:
            middle = chance.randbytes(chance.choice([1, 1, 2]))
        case 2 if tokens:
            middle = chance.choice(tokens)
        case 3:
            middle = data[at:to] * chance.choice([0, 2, 2, 20])
        case 4:
            start = chance.randrange(len(data) + 1)
            middle = data[start : start + chance.choice([1, 4, 40])]
        case 5:
            middle = str(chance.choice([0, -1, 1 << 31, 1 << 53, 1 << 64, 10**30, 1.5, "1e308", chance.randrange(200)])).encode()
        case _:
            return mutated_bytes(data, chance)
    return data[:at] + middle + data[to:]


def fuzz_by_coverage(
    run: Callable[[bytes], None], corpus: Path, findings: Path, seconds: int, *, is_json: bool, words: Sequence[str]
) -> None:
    """Run until the time is over, or an input fails. New inputs that reach new code are added to ``corpus``."""
    atheris: Any = importlib.import_module("atheris")  # an extra tool: it has no wheel for each interpreter
    dictionary = findings / "words.txt"
    dictionary.write_text("\n".join('"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"' for word in words))
    arguments = [
        *("fuzz", f"-max_total_time={seconds}", f"-max_len={LENGTH}", f"-artifact_prefix={findings}/", "-timeout=20"),
        *(f"-dict={dictionary}", "-print_final_stats=1", "-rss_limit_mb=2048", str(corpus)),
    ]
    # For text that is not JSON, the mutations of libFuzzer are better, because they know what the code compares.
    own = {"custom_mutator": mutator(words, is_json=True)} if is_json else {}
    atheris.Setup(arguments, run, **own)
    atheris.Fuzz()


def fuzz_by_chance(
    run: Callable[[bytes], None], seeds: Sequence[bytes], findings: Path, seconds: float, *, is_json: bool, words: Sequence[str]
) -> int:
    """Mutate the seeds by chance. Returns the number of inputs."""
    mutate = mutator(words, is_json=is_json)
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutate(random.Random(count).choice(seeds), LENGTH, count)
        try:
            run(data)
        except BaseException:
            (findings / f"input-{count}").write_bytes(data)
            raise
        count += 1
    return count
