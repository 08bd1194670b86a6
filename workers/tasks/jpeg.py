"""Removal of JPEG artefacts: lossy compression."""

from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from workers.tasks.degrading import clip, size
from workers.tasks.task import Observation, PickRule, Task

_LARGEST_SIDE = 65500


@dataclass(frozen=True)
class Jpeg(Task):
    """Lossy compression. Its errors are correlated between pixels: within blocks of 8 x 8, 16 x 16 for colour.

    Three channels are compressed as RGB with 4:2:0 subsampling of colour; otherwise each channel as a grey image.

    Args:
        quality: of libjpeg, from 1 (worst) to 95.
    """

    quality: int = 10
    name: ClassVar[str] = "jpeg"
    correlated_noise: ClassVar[bool] = True
    pick_rule: ClassVar[PickRule] = "consensus"

    def simulate(self, clean: NDArray[np.float32], random: np.random.Generator) -> Observation:
        """The image at 8 bits per sample, encoded and decoded.

        Raises:
            ValueError: a side is longer than JPEG can hold.
        """
        if max(clean.shape[1:]) > _LARGEST_SIDE:
            raise ValueError(f"{size(clean)} pixels: a JPEG file has at most {_LARGEST_SIDE} a side")
        levels = np.rint(clip(clean) * 255).astype(np.uint8)
        if len(levels) == 3:
            decoded = self._recompress(levels.transpose(1, 2, 0)).transpose(2, 0, 1)
        else:
            decoded = np.stack([self._recompress(channel) for channel in levels])
        return Observation(np.ascontiguousarray(decoded, dtype=np.float32) / np.float32(255))

    def _recompress(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) or (H, W, 3) after one encoding and decoding."""
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(levels)).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        file.seek(0)
        return np.asarray(JpegImageFile(file))
