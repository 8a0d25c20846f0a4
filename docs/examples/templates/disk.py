"""A snapshot: how full the disk is. Only while somebody looks, and only when it moved by a hundredth."""

import shutil

from realtime.actors.declared import conditional
from realtime.policy.significance import changed_by


@conditional(every=2.0, topic="disk", significant=changed_by(0.01))
def disk() -> dict[str, int]:  # not async: it may block, and is called in a thread
    usage = shutil.disk_usage("/")
    return {"total_bytes": usage.total, "free_bytes": usage.free}
