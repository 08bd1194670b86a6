import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from workers.quality import PsnrObserver, psnr, ssim


def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    clean = random.random((3, 40, 50), dtype=np.float32)
    return clean, clean + random.normal(0, 0.1, clean.shape).astype(np.float32)


def test_psnr_agrees_with_scikit_image() -> None:
    clean, noisy = images()
    assert psnr(noisy, clean) == pytest.approx(peak_signal_noise_ratio(clean, noisy, data_range=1), rel=1e-5)


def test_equal_images_have_the_highest_psnr_and_an_ssim_of_one() -> None:
    clean, _ = images()
    assert psnr(clean, clean) == pytest.approx(144.5, abs=0.01)
    assert ssim(clean, clean) == pytest.approx(1)


def test_an_image_smaller_than_its_window_has_no_ssim() -> None:
    tiny = np.zeros((1, 10, 40), dtype=np.float32)
    assert ssim(tiny, tiny) is None


def test_the_observer_compares_the_unpadded_part_and_survives_a_checkpoint() -> None:
    clean, noisy = images()
    padded = torch.zeros(1, 3, 64, 64)
    padded[0, :, :40, :50] = torch.from_numpy(noisy)
    observer = PsnrObserver(clean, "cpu")
    observer(padded)
    resumed = PsnrObserver(clean, "cpu")
    resumed.load_state_dict(observer.state_dict())
    resumed(padded)
    assert resumed.curve() == pytest.approx([psnr(noisy, clean)] * 2, rel=1e-5)
