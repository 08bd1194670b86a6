import json

from orchestrator.keep.damage import Damage, Remedy, Wrong


def test_a_damage_is_one_line_and_an_object_for_programs() -> None:
    damage = Damage("runs/r/x", Wrong.MISSING, "a row names it", "resume makes it again", Remedy.REMOVE, ("y",), "r")
    assert str(damage) == "missing: runs/r/x: a row names it; resume makes it again"
    assert json.loads(json.dumps(damage.to_json())) == {
        "run": "r",
        "key": "runs/r/x",
        "wrong": "missing",
        "reason": "a row names it",
        "resume": "resume makes it again",
        "remedy": "remove",
        "removes": ["y"],
    }
    assert [Damage("", Wrong.DAMAGED, "", "", remedy).is_repairable for remedy in Remedy] == [True, True, True, False]
