"""A simulated provider over HTTP, to develop and test against without an account.

    async with serve(profile="openai", limits={"tpm": 60_000}) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0)
        ...
        print(server.stats()["refused"])

`with serve(...)` does the same in a thread of its own. Both need `pip install xtremeflow[serve]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xtremeflow.serve.faults import Fault
from xtremeflow.serve.profiles import PROFILES, Profile
from xtremeflow.serve.service import Service
from xtremeflow.serve.settings import Settings
from xtremeflow.values.extras import extra

if TYPE_CHECKING:
    from xtremeflow.serve.server import SimulatedServer


def serve(
    profile: str = "openai", *, host: str = "127.0.0.1", port: int = 0, **settings: Any
) -> SimulatedServer:
    """Returns a SimulatedServer with these Settings, which does not listen yet.

    Raises ValueError for a setting with a wrong value, TypeError for one that does not exist, and
    ImportError if the extra ``serve`` is not installed.
    """
    # Imported here, so that profiles and Service work without the packages of the extra.
    with extra("serve"):
        from xtremeflow.serve.server import SimulatedServer
    return SimulatedServer(Settings(profile, **settings), host=host, port=port)


__all__ = ["PROFILES", "Fault", "Profile", "Service", "Settings", "serve"]
