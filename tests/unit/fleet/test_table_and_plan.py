"""The table of jobs, what is wrong with its rows, and when a job is another one."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from comfy_client import WorkflowError
from comfy_harness.stub_server import OBJECT_INFO, WORKFLOW
from fleet.catalogue import Catalogue
from fleet.jobs import Row, read_rows
from fleet.plan import plan_jobs

CATALOGUE = Catalogue(OBJECT_INFO)


@pytest.fixture
def table(tmp_path):
    """table("a,b\n1,2") → path of a CSV file."""

    def write(text: str, name: str = "jobs.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def plan(rows, folder, workflow=WORKFLOW):
    return plan_jobs(workflow, rows, CATALOGUE, folder, folder)


def refusal(rows, folder, workflow=WORKFLOW) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        plan(rows, folder, workflow)
    return str(caught.value).splitlines()


def test_three_formats_say_the_same(table, tmp_path):
    rows = read_rows(table("name,StubSave.seed,StubSave.note\na,3,\nb,,hello\n"))
    assert rows == [Row(1, "a", {"StubSave.seed": "3"}), Row(2, "b", {"StubSave.note": "hello"})]
    lines = '{"name": "a", "StubSave.seed": 3}\n\n{"name": "b", "StubSave.note": "hello", "StubSave.seed": null}\n'
    assert [row.values for row in read_rows(table(lines, "jobs.jsonl"))] == [
        {"StubSave.seed": 3},
        {"StubSave.note": "hello"},
    ]
    pyarrow = pytest.importorskip("pyarrow", reason="requirements-fleet.txt is not installed")
    from pyarrow import parquet

    columns = {"name": ["a", "b"], "StubSave.seed": [3, None], "StubSave.note": [None, "hello"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "jobs.parquet")
    assert [(row.name, row.values) for row in read_rows(tmp_path / "jobs.parquet")] == [
        ("a", {"StubSave.seed": 3}),
        ("b", {"StubSave.note": "hello"}),
    ]


def test_rows_without_a_name_get_their_number(table):
    assert [row.name for row in read_rows(table("StubSave.seed\n1\n2\n"))] == ["0001", "0002"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("jobs.csv", "name\n", "has no rows"),
        ("jobs.csv", "name,x\na,1,2\n", "row 1 has 1 values more than there are columns"),
        ("jobs.csv", "name,x,x\na,1,2\n", "column 'x' is there twice"),
        ("jobs.csv", "name\na\nA\n", "row 2: name: 'A' is the name of row 1 too"),
        ("jobs.csv", "name\n../a\n", "row 1: name: '../a' holds /"),
        ("jobs.csv", 'name\n"a\nb"\n', "row 1: name: .* cannot be shown"),
        ("jobs.jsonl", '{"a": 1}\n[1]\n', "line 2 is not an object"),
        ("jobs.jsonl", '{"a"\n', "line 1 is not JSON"),
        ("jobs.xlsx", "", r"ends in \.csv, \.jsonl"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(table, name, text, message):
    with pytest.raises(WorkflowError, match=message):
        read_rows(table(text, name))


def test_damaged_files_and_missing_ones_are_named(tmp_path):
    with pytest.raises(WorkflowError, match=r"cannot read .*nowhere.csv: No such file"):
        read_rows(tmp_path / "nowhere.csv")
    (tmp_path / "jobs.csv").write_bytes(b"name\n\xff\xfe\n")
    with pytest.raises(WorkflowError, match="is not UTF-8"):
        read_rows(tmp_path / "jobs.csv")
    pytest.importorskip("pyarrow", reason="requirements-fleet.txt is not installed")
    (tmp_path / "jobs.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(WorkflowError, match="is not a Parquet file"):
        read_rows(tmp_path / "jobs.parquet")


def test_values_reach_the_workflow_in_the_types_that_it_takes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    values = {
        "StubLoad.image": "a.png", "2.seed": "7", "StubSave.strength": "0.5", "StubSave.mode": "slow",
        "StubSave.note": "12", "StubSave.loud": "true", "StubSave.style": "bold",
    }  # fmt: skip
    (job,) = plan([Row(1, "a", values)], tmp_path)
    prompt = job.prompt(WORKFLOW)
    assert prompt["2"]["inputs"] == {
        "images": ["1", 0], "seed": 7, "strength": 0.5, "mode": "slow", "note": "12", "loud": True, "style": "bold",
    }  # fmt: skip
    assert prompt["1"]["inputs"]["image"].startswith("fleet/") and prompt["1"]["inputs"]["image"].endswith(
        ".png"
    )
    assert WORKFLOW["1"]["inputs"]["image"] == "on_server.png", "the workflow itself stays as it is"


def test_every_bad_row_is_listed_at_once(tmp_path):
    rows = [
        Row(1, "a", {"StubSave.seed": "many"}),
        Row(2, "b", {"StubSave.seed": "-1", "StubLoad.image": "nowhere.png"}),
        Row(3, "c", {"StubSave.mode": "medium"}),
        Row(4, "d", {"StubSave.loud": "maybe"}),
        Row(5, "e", {"StubSave.seed": "5"}),
        Row(6, "f", {"StubSave.strength": "nan"}),
    ]
    lines = refusal(rows, tmp_path)
    assert [line.split(":")[0] for line in lines] == [
        "row 1 (a)", "row 2 (b)", "row 2 (b)", "row 3 (c)", "row 4 (d)", "row 6 (f)",
    ]  # fmt: skip
    assert "StubSave.seed: 'many' is no whole number" in lines[0]
    assert "-1 lies outside 0 to 1000000" in lines[1]
    assert "no file nowhere.png in" in lines[2]
    assert "'medium' is no choice; choose one of fast, slow" in lines[3]
    assert "neither true nor false" in lines[4]


def test_unknown_columns_say_what_there_is(tmp_path):
    columns = {"Stub.seed": "1", "StubSave.sead": "1", "seed": "1", "StubSave.images": "x"}
    lines = refusal([Row(1, "a", columns)], tmp_path)
    assert "column Stub.seed: no node Stub in the workflow; it has 1 (StubLoad), 2 (StubSave)" in lines
    assert any("StubSave has no input sead; it has images, seed" in line for line in lines)
    assert "column seed: expected Class.input or id.input, or name" in lines
    assert any("images of StubSave is a connection" in line for line in lines)


def test_a_file_that_only_the_workflow_names_is_looked_for_too(tmp_path):
    workflow = {**WORKFLOW, "1": {"class_type": "StubLoad", "inputs": {"image": "own.png"}}}
    rows = [Row(1, "a", {}), Row(2, "b", {"StubLoad.image": "on_server.png"})]
    assert refusal(rows, tmp_path, workflow) == [
        f"row 1 (a): StubLoad.image of the workflow: no file own.png in {tmp_path}, nor on the server"
    ]
    (tmp_path / "own.png").write_bytes(b"x")
    first, second = plan(rows, tmp_path, workflow)
    assert len(first.files) == 1 and second.files == ()


def test_a_node_that_the_server_lacks_is_named(tmp_path):
    workflow = {**WORKFLOW, "9": {"class_type": "Elsewhere", "inputs": {}}}
    assert refusal([Row(1, "a", {})], tmp_path, workflow) == ["node 9: the server has no node Elsewhere"]


def test_the_digest_follows_workflow_row_and_content_of_files(tmp_path):
    def digest(values, workflow=WORKFLOW):
        return plan([Row(1, "a", values)], tmp_path, workflow)[0].digest

    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"one")
    picture = digest({"StubLoad.image": "a.png"})
    assert picture == digest({"StubLoad.image": "b.png"}), "the same picture under another name"
    (tmp_path / "a.png").write_bytes(b"two")
    assert digest({"StubLoad.image": "a.png"}) != picture
    plain = digest({})
    assert digest({"StubSave.seed": "1"}) != plain and digest({"StubSave.seed": "0"}) == plain
    changed = json.loads(json.dumps(WORKFLOW))
    changed["2"]["inputs"]["mode"] = "slow"
    assert digest({}, changed) != plain
    titled = json.loads(json.dumps(WORKFLOW))
    titled["2"]["_meta"] = {"title": "Save it"}
    assert digest({}, titled) == plain


def test_ten_thousand_rows(tmp_path):
    """The goal is 20 s and 500 MB (benchmarks/fleet.py measures a real workflow)."""
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]) * 1000)
    lines = [f"c{number},{number % 20}.png,{number},note {number}" for number in range(10_000)]
    (tmp_path / "jobs.csv").write_text("name,StubLoad.image,StubSave.seed,StubSave.note\n" + "\n".join(lines))
    began = time.monotonic()
    jobs = plan(read_rows(tmp_path / "jobs.csv"), tmp_path)
    assert time.monotonic() - began < 20
    assert len({job.digest for job in jobs}) == 10_000
    tracemalloc.start()
    plan(read_rows(tmp_path / "jobs.csv")[:1000], tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
