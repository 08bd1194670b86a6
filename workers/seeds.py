"""Seeds by purpose: every random stream has a name, and the name decides its numbers.

A stream must not depend on what ran before it in the same process (workers are reused), nor on the order of jobs. Each
one is therefore a hash of the words that describe its purpose.
"""

import hashlib

import torch


def seed_of(*words: object) -> int:
    """A 63-bit seed that is a function of the words alone, e.g. ``seed_of(run_seed, image_id, "held-out", "crop")``."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_of(*words: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on ``device``, seeded by `seed_of` of the words."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed_of(*words))
    return generator
