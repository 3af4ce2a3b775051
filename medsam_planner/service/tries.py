"""How often somebody may try to log in: a few times a minute for each address and for each name."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

__all__ = ["Tries", "network_of"]

MOST_TRIES = 5
PERIOD_S = 60.0
_REMEMBERED = 20_000


class Tries:
    """Failed tries of the last minute.

    Parameters
    ----------
    clock : callable
        Seconds that only ever rise.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_key: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, *keys: str) -> float | None:
        """Count a try for each key before it is made, so that tries at once are counted as well.

        Returns
        -------
        float or None
            Seconds to wait; then nothing was counted. None if the try may be made.
        """
        now = self._clock()
        with self._lock:
            recent = {key: [at for at in self._by_key.get(key, ()) if at > now - PERIOD_S] for key in keys}
            full = [times[-MOST_TRIES] for times in recent.values() if len(times) >= MOST_TRIES]
            if full:
                return max(full) + PERIOD_S - now
            for key, times in recent.items():
                self._by_key[key] = [*times, now]
                self._by_key.move_to_end(key)
            while len(self._by_key) > _REMEMBERED:
                self._by_key.popitem(last=False)
        return None

    def give_back(self, *keys: str) -> None:
        """Count a try no longer: it has succeeded."""
        with self._lock:
            for key in keys:
                times = self._by_key.pop(key, [])[:-1]
                if times:
                    self._by_key[key] = times


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, of which one machine has all addresses."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ip_network(f"{found}/64", strict=False))
    return str(found)
