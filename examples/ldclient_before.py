"""A program on launchdarkly-server-sdk. The same on aioflags is ldclient_after.py.

Run: pip install launchdarkly-server-sdk && python ldclient_before.py
"""

# pyright: basic
# Its types leave much unsaid.

import ldclient
from ldclient import Context, LDClient
from ldclient.config import Config
from ldclient.integrations.test_data import TestData

FLAGS = TestData.data_source()  # stands in for the service: Config("sdk-your-key") alone would connect to it
FLAGS.update(FLAGS.flag("new-checkout").if_match("country", "de").then_return(True).fallthrough_variation(False))
FLAGS.update(FLAGS.flag("greeting").value_for_all("hello"))


def show(client: LDClient, user: Context) -> None:
    if client.variation("new-checkout", user, False):
        print("the new checkout")
    detail = client.variation_detail("new-checkout", user, False)
    print("because of rule", detail.reason["ruleIndex"])
    print("all flags:", client.all_flags_state(user).to_values_map())


def main() -> None:
    ldclient.set_config(Config("sdk-your-key", update_processor_class=FLAGS, send_events=False))
    with ldclient.get() as client:
        if not client.is_initialized():
            print("no flags yet: defaults")
        user = Context.builder("user-123").name("Ada").set("country", "de").build()
        show(client, user)
        FLAGS.update(FLAGS.flag("greeting").value_for_all("welcome"))
        print("greeting:", client.variation("greeting", user, ""))


if __name__ == "__main__":
    main()
