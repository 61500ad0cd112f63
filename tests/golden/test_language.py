"""What keeps the scripts honest: errors with file and line, expectations that outlive a rewrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisexec.totem.core import State
from aisexec.totem.timers import Timer
from tests.golden import __main__ as command
from tests.golden.coverage import Coverage, impossible_timers
from tests.golden.environment import ScriptError, World
from tests.golden.script import play
from tests.golden.verbs import VERBS


def script(directory: Path, *lines: str) -> Path:
    path = directory / "story.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fly 1", "there is no verb 'fly'"),
        ("crash 4", "there is no node 4"),
        ("deliver 1->2 token", "no such frame in flight; there is: nothing"),
        ("deliver 1->2 tokens", "'tokens' selects no frames"),
        ("timeout consensus 1", "the consensus timer of 1 is not armed"),
        ("inject 1->2 token colour=3", "token has no field colour"),
        ("expect 1,2 state GATHER", "node 1: expected state 'GATHER', it is 'OPERATIONAL'"),
        ("expect 2 delivered x", "node 2: expected delivered 'x', it is ''"),
        ("nodes 3 tokens=4", "there is no setting tokens"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = script(tmp_path, "# A story", "ring 1 2", "----", "", line, "----")
    with pytest.raises(ScriptError) as caught:
        play(path, Coverage())
    assert str(caught.value).startswith(f"story.txt:5: {line}: {says}")


def test_rewriting_shows_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(tmp_path, "# A story", "", "ring 1 2", "----", "ring 7.9 of 7", "", "# The end")
    monkeypatch.setattr("sys.argv", ["golden", str(path)])
    assert command.main() == 1
    assert "-ring 7.9 of 7\n+ring 1.9 of 1,2 after 250 ms" in capsys.readouterr().out
    assert "ring 7.9 of 7" in path.read_text()
    monkeypatch.setattr("sys.argv", ["golden", "--rewrite", str(path)])
    assert command.main() == 0
    assert path.read_text() == "# A story\n\nring 1 2\n----\nring 1.9 of 1,2 after 250 ms\n\n# The end\n"
    monkeypatch.setattr("sys.argv", ["golden", str(path)])
    assert command.main() == 0


def test_a_script_that_fails_is_not_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = script(tmp_path, "# A story", "ring 1 2", "expect 1 state GATHER", "----", "ok")
    before = path.read_text()
    monkeypatch.setattr("sys.argv", ["golden", "--rewrite", str(path)])
    assert command.main() == 1
    assert path.read_text() == before


def test_a_timer_that_cannot_be_armed_is_noticed() -> None:
    world = World(Coverage())
    VERBS["ring"](world, ["1", "2"])
    core = world.nodes[1].core
    assert core.state is State.OPERATIONAL
    assert impossible_timers(core) == []
    core.arm(Timer.JOIN, 1.0)
    assert [text.split(",")[0] for text in impossible_timers(core)] == ["join timer armed in OPERATIONAL"]


def test_what_never_comes_to_rest_ends() -> None:
    world = World(Coverage())
    VERBS["nodes"](world, ["1", "seqno_unchanged_const=1000000"])
    VERBS["detail"](world, ["nothing"])
    VERBS["start"](world, [])
    with pytest.raises(ScriptError, match="no rest after"):
        world.stabilize()
