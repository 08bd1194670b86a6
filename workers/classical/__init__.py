"""Classical filters: what an image is restored to in seconds, without any network.

They are functions of scikit-image. A search is worth its cost only where it is better than they are, so every run
restores its images by them too, and compares (docs/classical.md).
"""

from workers.classical.member import Denoiser, Failure, Given, Member
from workers.classical.restore import restore_classically

__all__ = ["Denoiser", "Failure", "Given", "Member", "restore_classically"]
