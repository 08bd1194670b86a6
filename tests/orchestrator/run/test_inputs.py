import json

from orchestrator.run.inputs import INPUTS, RULES, InputImage, Inputs

IMAGE = InputImage("a.png", "a-1", "a.png", None, "a.png", 4, 5, 3)


def test_a_list_of_an_older_version_keeps_the_rules_by_which_its_files_were_read() -> None:
    value = json.loads(INPUTS.to_json(Inputs([IMAGE], [])))
    assert value["images"][0].pop("rules") == RULES
    for number in (None, 1):
        older = {key: each for key, each in value.items() if key != "format"} | ({"format": 1} if number else {})
        (image,) = INPUTS.from_json(json.dumps(older)).images
        assert image.rules == 0
    assert INPUTS.from_json(INPUTS.to_json(Inputs([IMAGE], []))).images[0].rules == RULES
