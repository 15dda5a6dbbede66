"""The table of results: nothing is lost when a machine stops, and nothing is done twice."""

from __future__ import annotations

import csv
import resource
import signal
from dataclasses import replace

import pytest
from comfy_client import WorkflowError
from fleet.jobs import Row
from fleet.plan import Job
from fleet.results import DONE, FAILED, Results, save

JOB = Job(Row(1, "a", {}), (), (), "digest")


def add(results, job=JOB, state=DONE, files=("a.mp4",), error=""):
    return results.add(job, state, 1.5, "worker 1", list(files), error)


def test_done_means_same_digest_and_files_still_there(tmp_path):
    results = Results(tmp_path)
    assert not results.is_done(JOB)
    save(tmp_path, "a.mp4", b"video")
    add(results)
    results.close()
    again = Results(tmp_path)
    assert again.is_done(JOB)
    assert not again.is_done(replace(JOB, digest="other"))
    (tmp_path / "a.mp4").unlink()
    assert not again.is_done(JOB)


def test_the_last_line_of_a_name_counts_and_errors_stay_on_one_line(tmp_path):
    save(tmp_path, "a.mp4", b"video")
    results = Results(tmp_path)
    add(results)
    add(results, state=FAILED, files=(), error='first, "second"\nthird')
    results.close()
    assert not Results(tmp_path).is_done(JOB)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 3 and "third" in lines[2]


def test_a_line_that_was_cut_off_is_removed(tmp_path):
    save(tmp_path, "a.mp4", b"video")
    results = Results(tmp_path)
    add(results)
    add(results, replace(JOB, row=Row(2, "b", {})))
    results.close()
    path = tmp_path / "results.csv"
    whole = path.read_bytes()
    for length in range(len(whole) - 20, len(whole)):
        path.write_bytes(whole[:length])
        results = Results(tmp_path)
        assert results.is_done(JOB)
        add(results, replace(JOB, row=Row(3, "c", {})))
        results.close()
        assert [line.split(",")[1] for line in path.read_text().splitlines()] == ["name", "a", "c"]


def test_what_is_no_table_of_results_is_left_alone(tmp_path):
    (tmp_path / "results.csv").write_text("my,own\ntable,1\n")
    with pytest.raises(WorkflowError, match="is not a table of results; choose another --output"):
        Results(tmp_path)
    assert (tmp_path / "results.csv").read_text() == "my,own\ntable,1\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkflowError, match=r"cannot write to .*file"):
        Results(tmp_path / "file")


def test_a_full_disk_leaves_neither_half_a_file_nor_half_a_line(tmp_path):
    """A limit on the size of files fails as a full disk does: in the middle of a write."""
    results = Results(tmp_path)
    add(results)
    before = (tmp_path / "results.csv").read_bytes()
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limit[1]))
        with pytest.raises(OSError):
            save(tmp_path, "b.mp4", bytes(1 << 20))
        with pytest.raises(OSError):
            add(results, replace(JOB, row=Row(2, "b", {})))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "results.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
    add(results, replace(JOB, row=Row(3, "c", {})))
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 3


def test_a_clip_of_ten_minutes_may_leave_a_file_for_each_frame(tmp_path):
    frames = [f"clip_{number:05}.png" for number in range(15_000)]
    results = Results(tmp_path)
    add(results, files=frames)
    results.close()
    for frame in frames:
        (tmp_path / frame).touch()
    before = csv.field_size_limit()
    assert Results(tmp_path).is_done(JOB)
    assert csv.field_size_limit() == before  # the process's own, for all who read tables in it
