"""The commands that steer a task and show its progress."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mseg_curate.store import Store
from mseg_curate.store.engine import run_query

CallCli = Callable[..., Any]
VOTES = (
    "dataset,split,image,segment,source_class,outcome,annotator,decided_at,milliseconds,mode\n"
    "farm,train,a,0,animal,dog,anna,2026-01-01T10:00:00Z,2000,single\n"
    "farm,train,a,0,animal,cat,ben,2026-01-01T10:00:00Z,4000,single\n"
)


@pytest.fixture
def run(
    farm_store: Store, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CallCli:
    """Call a command on the farm, in an empty folder."""
    monkeypatch.setenv("MSEG_CURATE_DB", str(farm_store.path))
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")
    return call_cli


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    return run_query(store, sql)[1]


def write(name: str, text: str) -> str:
    """Write a file into the working folder and return its name."""
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_a_task_is_paused_opened_and_closed(run: CallCli, farm_store: Store) -> None:
    """Each command sets the status, and says so where it was set before."""
    for word, status in (("pause", "paused"), ("open", "open"), ("close", "closed")):
        assert run("task", word, "kinds").out == f"kinds: {status}\n"
        assert run("task", word, "kinds").out == f"kinds was {status} already\n"
        assert rows(farm_store, "SELECT status FROM task") == [(status,)]
        assert run("task", word, "nothing").code == 1


def test_options_are_set(run: CallCli, farm_store: Store) -> None:
    """What is named is changed and printed with the rest; more redundancy opens slots, less closes free ones."""
    out = run("task", "set", "kinds", "--redundancy", "2", "--max-redundancy", "3").out
    assert "redundancy\t2\nmax_redundancy\t3\npriority\t0\n" in out
    assert rows(farm_store, "SELECT COUNT(*) FROM task_slot") == [(6,)]
    called = run(
        "task", "set", "kinds", "--redundancy", "1", "--policy", "majority(quorum=2)",
        "--gold-bar", "0.8", "--under-bar", "pause", "--instructions", "Tails count.", "--priority", "7",
    )  # fmt: skip
    assert "priority\t7\npolicy\tmajority(min_agreement=0.5,quorum=2)\n" in called.out
    assert "gold_bar\t0.8\n" in called.out
    assert rows(farm_store, "SELECT COUNT(*) FROM task_slot") == [(3,)]
    assert "gold_bar\t\n" in run("task", "set", "kinds", "--gold-bar", "-1").out
    assert "under_bar\tpause\n" in run("task", "set", "kinds").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--redundancy", "5"), "max_redundancy of a task: expected the redundancy (5) … 100"),
        (("--gold-rate", "0.9"), "gold_rate of a task: expected 0 … 0.5, found 0.9"),
        (("--lease", "1"), "lease_s of a task: expected 5 … 86400 seconds, found 1"),
        (("--policy", "coin"), "coin"),
    ],
)
def test_bad_options(run: CallCli, farm_store: Store, words: tuple[str, ...], message: str) -> None:
    """An option out of range is refused, with what is possible; nothing changes."""
    before = rows(farm_store, "SELECT * FROM task")
    called = run("task", "set", "kinds", *words)
    assert (called.code, called.out) == (1, "")
    assert message in called.message
    assert rows(farm_store, "SELECT * FROM task") == before


def test_candidates_are_described(run: CallCli, farm_store: Store) -> None:
    """Definitions come from a TSV file; candidates that it does not name keep theirs."""
    file = write("d.tsv", "class\tdefinition\ndog\tbarks, at <b>night</b>\n")
    assert run("task", "describe", "kinds", file).out == "kinds: 1 candidates described\n"
    assert rows(farm_store, "SELECT definition FROM task_candidate ORDER BY position") == [
        ("",),
        ("barks, at <b>night</b>",),
        ("",),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class\ttext\n", "expected class and definition"),
        ("", "found nothing"),
        ("class\tdefinition\n", "no definitions below the header"),
        ("class\tdefinition\ndog\n", "line 2: expected a class, a tab and its definition"),
        ("class\tdefinition\ndog\tx\ndog\ty\n", "line 3: 'dog' is defined above already"),
        ("class\tdefinition\nsky\tblue\n", "expected a candidate of kinds (cat, dog, cow)"),
        ("class\tdefinition\ndog\tbarks\x07\n", "expected one line of text"),
    ],
)
def test_bad_definitions(run: CallCli, text: str, message: str) -> None:
    """A file that is none, and definitions of no candidate, are refused."""
    called = run("task", "describe", "kinds", write("d.tsv", text))
    assert called.code == 1
    assert message in called.message


def test_definitions_are_printed_as_they_are_read(run: CallCli) -> None:
    """Without a file the definitions come out as the file that sets them."""
    text = "class\tdefinition\ncat\tpurrs\ndog\t\ncow\tgives milk\n"
    assert run("task", "describe", "kinds", write("d.tsv", text)).code == 0
    assert run("task", "describe", "kinds").out == text
    assert run("task", "describe", "nothing").code == 1


def test_examples(run: CallCli, farm_store: Store) -> None:
    """Example masks are appended to their candidate, and removed again."""
    head = "split,image,segment,class\n"
    file = write("e.csv", head + "train,a,0,dog\ntrain,a,1,dog\n")
    assert run("task", "example", "add", "kinds", file).out == "kinds: 2 examples added\n"
    called = run("task", "example", "add", "kinds", file)
    assert called.code == 1
    assert "line 2: this mask is an example already" in called.message
    run("annotator", "add", "carla", "--role", "curator")
    gold = write("g.csv", "split,image,segment,outcome\ntrain,b,0,cow\n")
    assert run("gold", "add", "kinds", gold, "--author", "carla").code == 0
    called = run("task", "example", "add", "kinds", write("f.csv", head + "train,b,0,cow\n"))
    assert "this mask is gold, an example would tell its answer" in called.message
    gold = write("g.csv", "split,image,segment,outcome\ntrain,a,0,cow\n")
    called = run("gold", "add", "kinds", gold, "--author", "carla")
    assert "is shown as an example" in called.message
    assert rows(farm_store, "SELECT position, number, mask_id FROM task_example") == [
        (1, 0, 1),
        (1, 1, 2),
    ]
    assert run("task", "example", "clear", "kinds", "--class", "sky").code == 1
    called = run("task", "example", "clear", "kinds", "--class", "cat")
    assert called.out == "kinds: 0 examples removed\n"
    listed = run("task", "example", "list", "kinds").out
    assert listed == "split,sequence,image,segment,class\ntrain,,a,0,dog\ntrain,,a,1,dog\n"
    assert run("task", "example", "clear", "kinds").out == "kinds: 2 examples removed\n"
    assert run("task", "example", "add", "kinds", write("l.csv", listed)).code == 0
    assert run("task", "example", "list", "kinds").out == listed


def test_suggestions(run: CallCli, farm_store: Store) -> None:
    """Suggestions are stored with score and source; a later file replaces what it names."""
    file = write("s.csv", "split,image,segment,class,score\ntrain,a,0,dog,0.9\ntrain,b,0,cow,\n")
    called = run("task", "suggest", "kinds", file)
    assert called.out == "kinds: 2 masks have a suggestion from s.csv\n"
    file = write("s.csv", "split,image,segment,class\ntrain,a,0,cat\n")
    assert run("task", "suggest", "kinds", file, "--source", "net 2").code == 0
    assert rows(
        farm_store,
        "SELECT s.mask_id, u.name, s.score, s.source FROM suggestion AS s "
        "JOIN label_class AS u ON u.id = s.label_class_id ORDER BY 1",
    ) == [(1, "cat", None, "net 2"), (3, "cow", None, "s.csv")]


def test_bad_suggestions(run: CallCli, farm_store: Store) -> None:
    """Every bad line of a file of suggestions is listed, and nothing of it is stored."""
    file = write(
        "s.csv",
        "split,image,segment,class,score\n"
        "train,a,0,dog,2\ntrain,a,1,sky,nan\ntrain,z,0,dog,high\ntrain,b,0,dog,\ntrain,b,0,cat,\n",
    )
    called = run("task", "suggest", "kinds", file)
    assert called.code == 1
    for word in (
        "line 2, column score: expected 0 … 1, found '2'",
        "line 3, column score: expected 0 … 1, found 'nan'",
        "line 3, column class: expected cat, dog, cow, found 'sky'",
        "line 4, column score: expected 0 … 1, found 'high'",
        "line 4: the task kinds has no mask 0 of image 'z' of split 'train'",
        "line 6: the mask of line 5 again",
    ):
        assert word in called.message
    assert rows(farm_store, "SELECT COUNT(*) FROM suggestion") == [(0,)]


def test_priorities(run: CallCli, farm_store: Store) -> None:
    """Masks of a file come before all others, in its order or by its ranks; each call begins anew."""
    ranks = "SELECT mask_id, rank FROM task_mask ORDER BY mask_id"
    file = write("p.csv", "split,image,segment\ntrain,b,0\ntrain,a,1\n")
    called = run("task", "prioritise", "kinds", file)
    assert called.out == "kinds: 2 masks have a place of their own in the queue\n"
    assert rows(farm_store, ranks) == [(1, 0), (2, -1), (3, -2)]
    assert rows(farm_store, "SELECT mask_id FROM task_slot ORDER BY rank, position") == [
        (3,),
        (2,),
        (1,),
    ]
    file = write("p.csv", "split,image,segment,rank\ntrain,a,0,5\n")
    assert run("task", "prioritise", "kinds", file).code == 0
    assert rows(farm_store, ranks) == [(1, 5), (2, 0), (3, 0)]
    run("decisions", "import", write("v.csv", VOTES))
    called = run("task", "prioritise", "kinds", "--contested-first")
    assert called.out == "kinds: 1 masks have a place of their own in the queue\n"
    assert rows(farm_store, ranks) == [(1, -1), (2, 0), (3, 0)]
    called = run("task", "prioritise", "kinds", "--by-chance")
    assert called.out == "kinds: masks are handed out by chance again\n"
    assert rows(farm_store, ranks) == [(1, 0), (2, 0), (3, 0)]


def test_bad_priorities(run: CallCli) -> None:
    """Ranks that are no whole numbers, and a call that says nothing or both, are refused."""
    file = write("p.csv", "split,image,segment,rank\ntrain,a,0,1.5\ntrain,a,1,99999999999\n")
    called = run("task", "prioritise", "kinds", file)
    assert called.code == 1
    assert "line 2, column rank: expected a whole number, found '1.5'" in called.message
    assert "line 3" in called.message
    for words in ((), (file, "--contested-first"), ("--contested-first", "--by-chance")):
        called = run("task", "prioritise", "kinds", *words)
        assert called.code == 1
        assert "expected a FILE, --contested-first" in called.message


def test_contested_masks_are_adjudicated_by_file(run: CallCli, farm_store: Store) -> None:
    """The contested masks of a task are a sheet of their own; filled in, it overrides the votes; other rows wait."""
    called = run("task", "show", "kinds", "--contested")
    assert called.out.count("\n") == 1
    assert called.err == "no mask of kinds is contested\n"
    votes = VOTES + VOTES.partition("\n")[2].replace(",a,0,", ",b,0,")
    run("task", "set", "kinds", "--redundancy", "2", "--max-redundancy", "2")
    assert run("decisions", "import", write("v.csv", votes)).code == 0
    sheet = run("task", "show", "kinds", "--contested").out
    head = "dataset,split,sequence,image,segment,source_class,outcome,annotator,mode\n"
    row = "farm,train,,{},0,animal,{},adjudication\n"
    assert sheet == head + row.format("a", ",") + row.format("b", ",")
    filled = head + row.format("a", "cow,carla") + row.format("b", ",")
    assert run("decisions", "import", write("s.csv", filled)).out == (
        "1 decisions imported, 0 were there already\n  1 rows have no outcome yet and were passed over\n"
        "next: mseg-curate resolve\n"
    )
    state = "SELECT image, state FROM v_mask WHERE segment = 0 ORDER BY image"
    assert rows(farm_store, state) == [("a", "adjudicated"), ("b", "contested")]
    assert run("resolve").code == 0
    assert rows(farm_store, "SELECT outcome, resolved_class FROM v_resolution ORDER BY image") == [
        ("resolved", "cow"),
        ("contested", None),
    ]


def test_progress(run: CallCli) -> None:
    """Masks by state, decisions and hours so far and to come, and a line per annotator."""
    assert run("task", "set", "kinds", "--redundancy", "2", "--max-redundancy", "2").code == 0
    lines = run("task", "progress", "kinds").out.splitlines()
    assert lines == [
        "kinds (open): 3 masks, 3 open, 0 settled, 0 contested, 0 adjudicated",
        "  so far 0 decisions, 0.00 h in the 0 timed ones",
        "  to come 6 decisions, no pace is known yet",
    ]
    run("decisions", "import", write("v.csv", VOTES))
    assert run("task", "progress").out.splitlines() == [
        "kinds (open): 3 masks, 2 open, 0 settled, 1 contested, 0 adjudicated",
        "  so far 2 decisions, 0.00 h in the 2 timed ones, median 3.0 s",
        "  to come 5 decisions, about 0.00 h",
        "  anna\t1 decisions\t0.00 h\tmedian 2.0 s",
        "  ben\t1 decisions\t0.00 h\tmedian 4.0 s",
    ]
    assert run("task", "progress", "nothing").code == 1
