"""Submitting to a cluster so young that none of its agents has reported."""

import pytest

from actors import jobs


class Cluster:
    """Refuses the first submissions as Ray's dashboard does; keeps what it took."""

    def __init__(self, refusals: int, why: str = "No available agent to submit job, please try again later.") -> None:
        self.refusals, self.why, self.taken = refusals, why, []

    def submit_job(self, **given: object) -> None:
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError(f"Request failed with status code 500: {self.why}")
        self.taken.append(given)


def test_it_is_asked_again_until_an_agent_is_there() -> None:
    cluster = Cluster(2)
    jobs._submitted(cluster, "run", "job-1", {})
    assert cluster.taken == [{"entrypoint": "run", "submission_id": "job-1", "runtime_env": {}}]


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_AGENT_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match="No available agent"):
        jobs._submitted(Cluster(99), "run", "job-1", {})


def test_another_refusal_stands() -> None:
    cluster = Cluster(1, "no such working_dir")
    with pytest.raises(RuntimeError, match="no such working_dir"):
        jobs._submitted(cluster, "run", "job-1", {})
    assert not cluster.taken
