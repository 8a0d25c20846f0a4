import pytest

from realtime.actors import tasks
from realtime.actors.jobs import Job, job


@pytest.mark.parametrize("bad", [0, -1, float("nan")])
def test_a_timeout_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="timeout must be"):
        job("x", timeout=bad)


def test_a_job_needs_a_name_and_an_emitter():
    with pytest.raises(ValueError):
        job("no name")(lambda progress: None)
    with pytest.raises(ValueError, match="must take a ProgressEmitter"):
        job("x")(lambda: None)


def test_a_job_can_be_called_as_the_function_it_was():
    @job("double")
    def double(progress, *, number: int):
        return 2 * number

    assert double(None, number=2) == 4


def test_who_declares_jobs_finds_them_beside_the_tasks():
    assert (tasks.job, tasks.Job) == (job, Job)
