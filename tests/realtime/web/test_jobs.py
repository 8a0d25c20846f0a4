import pytest

from realtime.actors.tasks import job

from ..in_process import running


@job("zip", timeout=60.0)
async def zip_up(progress, *, folder: str, level: int = 6, names: list[str] | None = None): ...


@job("aim")
def aim(progress): ...


@pytest.fixture
async def system():
    async with running() as found:
        for each in (zip_up, aim):
            found.system.backend.tasks.register(each)
        yield found


async def test_each_job_is_shown_with_what_it_wants(system):
    assert await system.get("/api/jobs") == {
        "jobs": [
            {"job": "aim", "timeout_s": 3600.0, "params": []},
            {
                "job": "zip",
                "timeout_s": 60.0,
                "params": [
                    {"name": "folder", "type": "str", "required": True, "default": None},
                    {"name": "level", "type": "int", "required": False, "default": 6},
                    {"name": "names", "type": "list[str] | None", "required": False, "default": None},
                ],
            },
        ]
    }
