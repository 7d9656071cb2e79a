"""How a server of the demonstration registers itself with the gateway, and renews."""

import json
import time
import urllib.error
import urllib.request


def register(admin, me):
    """Says again and again that this server is here: a gateway that was restarted learns it anew."""
    while True:
        wait = 1
        try:
            request = urllib.request.Request(f"{admin}/api/v1/registrations", json.dumps(me).encode(), method="POST")
            with urllib.request.urlopen(request, timeout=5) as reply:
                wait = json.load(reply)["lease_seconds"] / 3
        except (urllib.error.URLError, TimeoutError) as error:
            print("not registered:", error, flush=True)
        time.sleep(wait)
