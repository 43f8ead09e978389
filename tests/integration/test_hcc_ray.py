"""Large files over Ray Data: the bits of one process, for any number of workers and any block size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from engine.errors import HccError
from engine.scoring.hcc.hhs.score import HhsScorer
from engine.scoring.hcc.hhs.score import score as hhs_score
from engine.scoring.hcc.score import HccScorer, HccScores, score
from tests.unit.scoring.test_hcc import crowd
from tests.unit.scoring.test_hhs import crowd as hhs_crowd

MEMBERS = 3000


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR", address="local")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hcc") / "diagnoses.parquet"
    parquet.write_table(crowd(MEMBERS)[1], path, row_group_size=5000)
    return path


def over_ray(file: Path, workers: int, rows: int, report: bool = False) -> HccScores:
    from actors.hcc import collect

    scorer = HccScorer.of(crowd(MEMBERS)[0], "v28", 2026, report=report)
    collect(scorer, file, workers, rows)
    return scorer.finish(all_segments=True)


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(("workers", "rows"), [(1, 24_000), (2, 1_700)])
def test_workers_and_blocks_do_not_change_a_bit(file: Path, workers: int, rows: int) -> None:
    alone = score(*crowd(MEMBERS), all_segments=True)
    got = over_ray(file, workers, rows)
    np.testing.assert_array_equal(got.raw, alone.raw)
    np.testing.assert_array_equal(got.hccs, alone.hccs)
    assert got.table().equals(alone.table())


@pytest.mark.usefixtures("ray_here")
def test_what_cannot_be_used_is_named_across_workers(tmp_path: Path) -> None:
    diagnoses = crowd(MEMBERS)[1]
    bad = pa.table({"member_id": ["P5", "P6", "ghost"], "icd10": ["???", "Z000", "E1169"]})
    path = tmp_path / "bad.parquet"
    parquet.write_table(pa.concat_tables([diagnoses, bad]), path, row_group_size=6000)
    with pytest.raises(HccError, match=r"member (P5|ghost)"):
        over_ray(path, 2, 6000)
    got = over_ray(path, 2, 6000, report=True)
    assert sorted(refusal.member_id for refusal in got.refused) == ["P5", "ghost"]
    assert len(got.members) == MEMBERS - 1
    assert {"member_id": "P6", "icd10": "Z000"} in got.unmapped.to_pylist()


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(("workers", "rows", "suffix"), [(1, 24_000, "parquet"), (2, 900, "csv")])
def test_commercial_scores_are_the_same_bits_over_ray(tmp_path: Path, workers: int, rows: int, suffix: str) -> None:
    from actors.hcc import collect

    people, diagnoses, drugs = hhs_crowd(600)
    path = tmp_path / f"diagnoses.{suffix}"
    if suffix == "csv":
        csv.write_csv(diagnoses.rename_columns(["ENROLID", "DIAG", "DIAGNOSIS_SERVICE_DATE"]), path)
    else:
        parquet.write_table(diagnoses, path, row_group_size=1000)
    scorer = HhsScorer.of(people, 2025)
    scorer.add_drugs(drugs)
    collect(scorer, path, workers, rows)
    assert scorer.finish().table().equals(hhs_score(people, diagnoses, 2025, drugs).table())
