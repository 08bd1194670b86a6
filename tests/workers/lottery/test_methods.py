from workers.lottery.methods import METHODS, TRAITS


def chosen(trait: str) -> set[str]:
    return {method for method, traits in TRAITS.items() if getattr(traits, trait)}


def test_every_method_has_traits() -> None:
    assert list(TRAITS) == list(METHODS)


def test_methods_are_what_their_papers_say() -> None:
    assert chosen("prunes") == {"imp", "random", "snip", "oes"}
    assert chosen("many_rounds") == set(METHODS) - {"dense"}
    assert chosen("sees_images") == {"imp", "snip", "oes"}
    assert chosen("round_by_round") == {"imp"}
    assert chosen("learns_masks") == {"oes"}
    assert chosen("decoder") == {"decoder"}
