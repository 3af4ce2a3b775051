"""The workbench on a real port, for tests that speak HTTP to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from medsam_planner.service.access import Access
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.service import Service
from medsam_planner.service.listening import listen
from medsam_planner.service.settings import Settings


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve on a free port of the loopback; gives the address, without a slash at its end."""
    import uvicorn

    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", server_header=False, proxy_headers=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        bound.close()


@contextmanager
def page_app(settings: Settings, limits: Limits | None = None, *, access: Access | None = None) -> Iterator[Any]:
    """The application with the page, on a service of its own."""
    from ui.app import make_app

    with closing(Service(settings, limits)) as service:
        yield make_app(service, access=access)
