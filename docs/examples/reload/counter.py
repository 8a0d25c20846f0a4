"""The code that is changed while it runs."""

from messages import Click

from supervisors import Actor


class Counter(Actor[Click]):
    async def on_start(self) -> None:
        self.clicks = 0

    async def handle_cast(self, message: Click) -> None:
        self.clicks += 1
        print(f"{self.clicks} clicks, the last on {message.where}", flush=True)

    async def export_state(self) -> dict[str, int]:
        return {"clicks": self.clicks}

    async def on_upgrade(self, state: dict[str, int]) -> None:
        self.clicks = state["clicks"]
