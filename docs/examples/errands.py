"""Work that is done once, given to a supervisor: a task, and a bounded map over many items."""

import trio

from supervisors import ChildSpec, DynamicSupervisorSpec, SupervisorSpec, TaskSupervisor, open_tree

PAGES = {"/": 0.3, "/news": 0.1, "/shop": 0.2, "/about": 0.4}


async def fetch(path: str) -> str:
    await trio.sleep(PAGES[path])
    return f"<page {path}>"


async def main() -> None:
    tasks = TaskSupervisor()
    spec = SupervisorSpec([ChildSpec("tasks", DynamicSupervisorSpec(max_children=100), ref=tasks)])
    async with open_tree(spec):
        task = tasks.start_task(fetch, "/")
        print(f"{task.path} has begun")
        print(await task.result())

        paths = ["/", "/nonsense", "/news", "/shop"]
        async for path, outcome in tasks.map(fetch, paths, max_concurrent=2):
            try:
                print(path, outcome.unwrap())
            except KeyError as error:
                print(path, f"failed: {error!r}")


if __name__ == "__main__":
    trio.run(main)
