"""A fleet of stub servers: every row once, whatever fails, dies or is slow."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="requirements-fleet.txt is not installed")

from comfy_client import WorkflowError
from comfy_harness.stub_server import FAIL, OBJECT_INFO, WORKFLOW, StubServers
from fleet.catalogue import Catalogue
from fleet.cluster import connected, given_workers
from fleet.command import differences, plan_with
from fleet.dispatch import Dispatcher, whole_job
from fleet.jobs import Row
from fleet.plan import plan_jobs
from fleet.results import Results
from tqdm import tqdm

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "fleet.py"


@pytest.fixture(scope="module")
def ray_here():
    with connected("local"):
        yield


def jobs_of(notes, folder, **more):
    rows = [
        Row(number, f"clip{number}", {"StubSave.note": note, **more}) for number, note in enumerate(notes, 1)
    ]
    return plan_jobs(WORKFLOW, rows, Catalogue(OBJECT_INFO), folder, folder)


def do(jobs, urls, folder, retries=0, meanwhile=None):
    """Run what is not done yet: summary, workers and what was said."""
    said = []

    async def run():
        with contextlib.closing(Results(folder)) as results:
            slots = given_workers(urls.split(","))
            await asyncio.gather(
                *(slot.actor.describe.remote(slot.index, ["StubSave"], []) for slot in slots)
            )
            todo = [job for job in jobs if not results.is_done(job)]
            dispatcher = Dispatcher(WORKFLOW, results, slots, retries, tqdm(disable=True), said.append)
            helper = asyncio.create_task(asyncio.to_thread(meanwhile or (lambda: None)))
            summary = await dispatcher.run(todo, whole_job)
            await helper
            await slots[0].actor.close.remote()
        return summary, slots

    return *asyncio.run(run()), said


def lines(folder) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_once_failures_are_noted_and_a_rerun_does_only_what_is_left(ray_here, tmp_path):
    (tmp_path / "in.png").write_bytes(b"picture")
    notes = [f"note {number}" for number in range(1, 21)]
    notes[6] = FAIL
    jobs = jobs_of(notes, tmp_path, **{"StubLoad.image": "in.png"})
    out = tmp_path / "out"
    with StubServers(2, 0.05) as stubs:
        summary, slots, said = do(jobs, stubs.urls, out, retries=1)
        assert (summary.done, summary.failed) == (19, 1)
        assert Counter(note for server in stubs.servers for note in server.jobs) == Counter(
            note for note in notes if note != FAIL
        )
        assert all(slot.done > 5 for slot in slots)
        assert summary.problems == ["row 7 (clip7): StubSave (node 2) failed: ValueError: told to"]
        assert said[0].endswith("trying again") and said[1].startswith("row 7 (clip7) failed")
        table = {line["name"]: line for line in lines(out)}
        assert (
            len(lines(out)) == 20
            and table["clip7"]["state"] == "failed"
            and "told to" in table["clip7"]["error"]
        )
        for number, note in enumerate(notes, 1):
            if note != FAIL:
                made = json.loads((out / table[f"clip{number}"]["files"]).read_text())
                assert made["note"] == note and made["image"] == hashlib.sha256(b"picture").hexdigest()

        notes[6], notes[2] = "repaired", "changed"
        (out / "clip5.txt").unlink()
        for server in stubs.servers:
            server.jobs.clear()
        summary, _, _ = do(jobs_of(notes, tmp_path, **{"StubLoad.image": "in.png"}), stubs.urls, out)
        assert sorted(note for server in stubs.servers for note in server.jobs) == [
            "changed",
            "note 5",
            "repaired",
        ]
        assert (summary.done, summary.failed) == (3, 0)

        (tmp_path / "in.png").write_bytes(b"another picture")
        summary, _, _ = do(jobs_of(notes, tmp_path, **{"StubLoad.image": "in.png"}), stubs.urls, out)
        assert summary.done == 20


def test_a_server_that_goes_away_loses_no_job(ray_here, tmp_path):
    notes = [f"note {number}" for number in range(24)]
    with StubServers(3, 0.2) as stubs:

        def stop_one():
            time.sleep(0.5)
            stubs.stop(1)

        summary, slots, said = do(jobs_of(notes, tmp_path), stubs.urls, tmp_path / "out", meanwhile=stop_one)
    assert (summary.done, summary.failed) == (24, 0)
    assert any(slots[1].name in line and "goes to another" in line for line in said)
    assert Counter(line["name"] for line in lines(tmp_path / "out")) == Counter(
        f"clip{n}" for n in range(1, 25)
    )


def test_a_file_that_changes_while_the_fleet_runs_is_a_failure_of_its_row(ray_here, tmp_path):
    (tmp_path / "in.png").write_bytes(b"picture")
    jobs = jobs_of(["a"], tmp_path, **{"StubLoad.image": "in.png"})
    (tmp_path / "in.png").write_bytes(b"other")
    with StubServers(1, 0) as stubs:
        summary, _, _ = do(jobs, stubs.urls, tmp_path / "out")
    assert "in.png changed while the fleet ran" in summary.problems[0]


def test_an_output_that_cannot_be_written_ends_the_fleet_and_names_the_row(ray_here, tmp_path):
    out = tmp_path / "out"
    (out / "clip1.txt").mkdir(parents=True)  # where the file should go
    with (
        StubServers(1, 0) as stubs,
        pytest.raises(WorkflowError, match=r"row 1 \(clip1\): cannot write to .*out"),
    ):
        do(jobs_of(["a", "b"], tmp_path), stubs.urls, out)


def test_servers_that_are_no_comfyui_are_all_named(ray_here, tmp_path):
    with StubServers(1, 0) as stubs:
        url = stubs.urls

        async def check():
            slots = given_workers([url, "http://127.0.0.1:1", f"{url}/nowhere"])
            await plan_with(argparse.Namespace(), WORKFLOW, [], slots)

        with pytest.raises(WorkflowError) as caught:
            asyncio.run(check())
    assert str(caught.value).splitlines() == [
        "http://127.0.0.1:1: no ComfyUI answers at http://127.0.0.1:1",
        f"{url}/nowhere: {url}/nowhere does not answer as a ComfyUI does",
    ]


def test_sixty_four_workers_are_kept_busy(ray_here, tmp_path):
    """The goal is 90 % of what their fixed service time allows."""
    seconds, each = 3.0, 3
    with StubServers(64, seconds) as stubs:
        summary, _, _ = do(
            jobs_of([str(number) for number in range(64 * each)], tmp_path), stubs.urls, tmp_path
        )
    assert summary.done == 64 * each
    assert seconds * each / summary.seconds > 0.85, summary.seconds  # other tests may run beside this one


def test_differences_name_the_workers():
    versions = {
        "a": {"ComfyUI": "1", "node X": "aa"},
        "b": {"ComfyUI": "2", "node X": "aa"},
        "c": {"ComfyUI": "1"},
    }
    assert differences(versions) == [
        "ComfyUI differs: 1 on a, c; 2 on b",
        "node X differs: aa on a, b; missing on c",
    ]


# ---------------------------------------------------------------- the command


def command(tmp_path, *arguments, rows=12):
    (tmp_path / "workflow.json").write_text(json.dumps(WORKFLOW))
    (tmp_path / "jobs.csv").write_text(
        "name,StubSave.note\n" + "".join(f"c{n},note {n}\n" for n in range(rows))
    )
    files = [str(tmp_path / "workflow.json"), str(tmp_path / "jobs.csv"), "--output", str(tmp_path / "out")]
    return [sys.executable, str(SCRIPT), *files, *arguments]


def start(command):
    # Tests that run in the background were told to ignore SIGINT, and children inherit that.
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for_lines(folder, count, process):
    while not (folder / "results.csv").is_file() or len(lines(folder)) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def test_stopped_by_ctrl_c_then_killed_and_still_every_row_once(tmp_path):
    out = tmp_path / "out"
    with StubServers(2, 0.5, versions=("1", "2")) as stubs:
        process = start(command(tmp_path, "--servers", stubs.urls))
        wait_for_lines(out, 2, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130 and "the same command goes on with the rest" in errors, errors
        assert "Traceback" not in errors
        first, second = stubs.servers
        assert f"warning: ComfyUI differs: 1 on {first.url}; 2 on {second.url}" in errors

        process = start(command(tmp_path, "--servers", stubs.urls))
        wait_for_lines(out, len(lines(out)) + 2, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()

        done = subprocess.run(
            command(tmp_path, "--servers", stubs.urls), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "rows are done already" in done.stderr and "done, 0 failed" in done.stdout
    table = lines(out)
    assert sorted(line["name"] for line in table) == sorted(f"c{n}" for n in range(12))
    assert all(
        json.loads((out / line["files"]).read_text())["note"] == f"note {line['name'][1:]}" for line in table
    )
    assert [path.name for path in out.iterdir() if path.suffix == ".partial"] == []


def test_check_lists_bad_rows_and_starts_nothing(tmp_path):
    with StubServers(1, 0) as stubs:
        bad = command(tmp_path, "--check", "--servers", stubs.urls)
        (tmp_path / "jobs.csv").write_text("name,StubSave.seed,StubLoad.image\na,x,\nb,1,no.png\n")
        done = subprocess.run(bad, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "row 1 (a): StubSave.seed" in done.stderr and "row 2 (b): StubLoad.image" in done.stderr
        assert stubs.servers[0].jobs == [] and not (tmp_path / "out").exists()
