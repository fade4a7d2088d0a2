"""Flags from a file in flagd's format: no server, no network. The program follows each edit of the file."""

import asyncio
import json
import tempfile

from anyio import Path

from aioflags import Context, FlagdClient, FlagdConfig

FLAGS = {
    "flags": {
        "greeting": {
            "state": "ENABLED",
            "variants": {"formal": "good morning", "casual": "hi"},
            "defaultVariant": "formal",
            "targeting": {"if": [{"ends_with": [{"var": "email"}, "@example.com"]}, "casual"]},
        }
    }
}
STRANGER = Context("user-123")
COLLEAGUE = Context("anna", attributes={"email": "anna@example.com"})


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "flags.json")
        await file.write_text(json.dumps(FLAGS))
        config = FlagdConfig(resolver="file", offline_flag_source_path=str(file), offline_poll_interval=0.1)
        async with FlagdClient(config) as client, client.changes() as changes:
            for user in (STRANGER, COLLEAGUE):
                detail = await client.variation_detail("greeting", user, "hello")
                print(f"{user.key}: {detail.value} ({detail.variant}, {detail.reason.kind})")
            await file.write_text(json.dumps(FLAGS).replace("good morning", "welcome"))
            change = await anext(changes)
            print(f"{change.key} changed: {await client.variation(change.key, STRANGER, 'hello')}")


asyncio.run(main())
