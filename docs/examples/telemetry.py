"""Restarts and lifetimes of a tree's children as OpenTelemetry metrics and spans."""

import time

import trio
from opentelemetry import metrics, trace
from opentelemetry.trace import Status, StatusCode

from supervisors import Backoff, ChildSpec, Event, Exited, Started, SupervisorSpec, open_tree

tracer = trace.get_tracer("supervisors")
starts = metrics.get_meter("supervisors").create_counter("child.starts")


def telemetry(event: Event) -> None:
    if isinstance(event, Started):
        starts.add(1, {"path": event.path})
    elif isinstance(event, Exited):
        end = time.time_ns()
        span = tracer.start_span(event.path or "root", start_time=end - int(event.uptime * 1e9))
        span.set_attribute("exit.reason", event.exit.reason)
        if event.exit.error is not None:
            span.record_exception(event.exit.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)


async def worker() -> None:
    await trio.sleep(0.3)
    raise RuntimeError("it happens")


async def main() -> None:
    spec = SupervisorSpec([ChildSpec("worker", worker, backoff=Backoff())])
    async with open_tree(spec, on_event=telemetry):
        await trio.sleep(1)


if __name__ == "__main__":
    trio.run(main)
