"""Damaged files of every format, a fixed number of them; `fuzz` makes more, without end."""

from tests.orchestrator.images.fuzz import damaged, findings, originals


def test_damaged_files_give_a_picture_or_a_reason_and_never_a_crash() -> None:
    assert findings(range(8_000)) == []


def test_the_damage_is_a_function_of_its_number_and_of_every_format() -> None:
    made = [damaged(seed) for seed in range(500)]
    assert made == [damaged(seed) for seed in range(500)]
    assert {name for name, _ in made} == set(originals())
    assert sum(data == originals()[name] for name, data in made) < 25
