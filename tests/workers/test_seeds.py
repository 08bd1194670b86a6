import torch

from workers.seeds import generator_of, seed_of


def test_a_seed_is_a_function_of_its_words_alone() -> None:
    assert seed_of(1, "image", "held-out") == 6601769821352152302 == seed_of("1", "image", "held-out")
    assert 0 <= seed_of("anything") < 2**63


def test_words_do_not_run_into_each_other() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc")


def test_generators_of_equal_words_give_equal_numbers() -> None:
    assert torch.equal(torch.rand(4, generator=generator_of(1, "x")), torch.rand(4, generator=generator_of(1, "x")))
    assert not torch.equal(torch.rand(4, generator=generator_of(1, "x")), torch.rand(4, generator=generator_of(1, "y")))
