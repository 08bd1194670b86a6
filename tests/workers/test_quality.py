import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from workers.quality import PsnrObserver, luma, psnr, psnr_y, ssim


def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    clean = random.random((3, 40, 50), dtype=np.float32)
    return clean, clean + random.normal(0, 0.1, clean.shape).astype(np.float32)


def test_psnr_agrees_with_scikit_image() -> None:
    clean, noisy = images()
    assert psnr(noisy, clean) == pytest.approx(peak_signal_noise_ratio(clean, noisy, data_range=1), rel=1e-5)


@pytest.mark.parametrize("missing", [False, True])
def test_a_photograph_is_compared_by_rows(monkeypatch: pytest.MonkeyPatch, *, missing: bool) -> None:
    clean, noisy = images()
    if missing:
        clean[:, 3:9, 5:20] = np.nan
    at_once = psnr(noisy, clean)
    monkeypatch.setattr("workers.quality._LARGE", 1)
    monkeypatch.setattr("workers.quality._ROWS", 7)
    assert psnr(noisy, clean) == pytest.approx(at_once, rel=1e-12)


def test_equal_images_have_the_highest_psnr_and_an_ssim_of_one() -> None:
    clean, _ = images()
    assert psnr(clean, clean) == pytest.approx(144.5, abs=0.01)
    assert ssim(clean, clean) == pytest.approx(1)


def test_an_image_smaller_than_its_window_has_no_ssim() -> None:
    tiny = np.zeros((1, 10, 40), dtype=np.float32)
    assert ssim(tiny, tiny) is None


def test_luma_is_that_of_super_resolution_papers() -> None:
    clean, _ = images()
    assert luma(clean) == pytest.approx(rgb2ycbcr(clean, channel_axis=0)[0] / 255, abs=1e-6)
    assert luma(np.ones((3, 1, 1))).item() == pytest.approx(235 / 255)
    assert luma(np.zeros((3, 1, 1))).item() == pytest.approx(16 / 255)


def test_psnr_of_the_luma_needs_three_channels() -> None:
    clean, noisy = images()
    y, reference = (rgb2ycbcr(x, channel_axis=0)[0] / 255 for x in (noisy, clean))
    assert psnr_y(noisy, clean) == pytest.approx(psnr(y, reference), abs=1e-4)
    assert psnr_y(noisy[:1], clean[:1]) is None


def test_the_observer_compares_the_unpadded_part_and_survives_a_checkpoint() -> None:
    clean, noisy = images()
    padded = torch.zeros(1, 3, 64, 64)
    padded[0, :, :40, :50] = torch.from_numpy(noisy)
    observer = PsnrObserver(clean, "cpu")
    observer.keep(observer(padded)[None])
    resumed = PsnrObserver(clean, "cpu")
    resumed.load_state_dict(observer.state_dict())
    resumed.keep(resumed(padded)[None])
    assert resumed.curve() == pytest.approx([psnr(noisy, clean)] * 2, rel=1e-5)
