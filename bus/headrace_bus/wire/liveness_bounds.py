"""How long a process may be silent, for all who judge by heartbeats: edges, control, scaler.

Each bound is a multiple of the interval at which processes speak, in seconds since the last word.
"""

from __future__ import annotations

from typing import Final

from headrace_bus.wire.heartbeat import HEARTBEAT_INTERVAL_S

DUE_S: Final = 1.5 * HEARTBEAT_INTERVAL_S
"""Whoever lives has spoken by then; an instance that has not gets nothing new until it does."""
DEAF_S: Final = 2 * HEARTBEAT_INTERVAL_S
"""An edge whose own heartbeat did not come back hears nobody; less than INSTANCE_LIVE_S, so that
it judges no instance by a silence of its own."""
INSTANCE_LIVE_S: Final = 3 * HEARTBEAT_INTERVAL_S
"""An instance that is silent for longer is frozen: its requests are sent to others."""
INGRESS_LIVE_S: Final = 4 * HEARTBEAT_INTERVAL_S
"""An ingress that is silent for longer is gone: nobody waits for it, its requests count as lost."""
AMNESTY_S: Final = 4 * HEARTBEAT_INTERVAL_S
"""After a reconnect nobody is judged for so long."""
FORGOTTEN_S: Final = 120 * HEARTBEAT_INTERVAL_S
"""What was heard of an instance that no record knows, or of an ingress, is dropped after that."""
