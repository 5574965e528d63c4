"""Laws of the metrics, and equality with what the released code recorded."""

import numpy as np
import pytest
import torch

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation.metrics import DEPTH_METRICS, DepthErrors, depth_errors, psnr, ssim


def test_psnr_and_ssim_equal_the_recorded_values(parity):
    recorded = np.load(parity / "depthsplat" / "units_main.npz")
    predicted = torch.from_numpy(recorded["metric/pred"])
    reference = torch.from_numpy(recorded["metric/gt"]).float() / 255
    np.testing.assert_allclose(psnr(predicted, reference), recorded["metric/psnr"], atol=1e-5)
    np.testing.assert_allclose(ssim(predicted, reference), recorded["metric/ssim"], atol=1e-5)


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)])
def test_metrics_are_per_image_over_any_batch(batch, rng):
    image, reference = (torch.rand(*batch, 3, 16, 20, generator=rng) for _ in range(2))
    for metric in (psnr, ssim):
        values = metric(image, reference)
        assert values.shape == batch
        singly = [
            metric(i, r) for i, r in zip(image.reshape(-1, 3, 16, 20), reference.reshape(-1, 3, 16, 20), strict=True)
        ]
        torch.testing.assert_close(values.reshape(-1), torch.stack(singly))


def test_psnr_of_a_known_error_is_the_formula(rng):
    reference = 0.2 + 0.6 * torch.rand(2, 3, 12, 12, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(psnr(reference + 0.1, reference), torch.full((2,), 20.0, dtype=torch.float64))


def test_psnr_clips_and_ssim_does_not(rng):
    reference = torch.rand(3, 16, 16, generator=rng)
    above = torch.where(reference > 0.5, reference + 1, reference)
    assert psnr(above, reference) == psnr(above.clamp(0, 1), reference)
    assert ssim(above, reference) < ssim(above.clamp(0, 1), reference) - 0.01


def test_equal_images_are_perfect(rng):
    image = torch.rand(3, 16, 16, generator=rng)
    assert psnr(image, image) == torch.inf
    assert ssim(image, image) == pytest.approx(1)


def test_ssim_is_symmetric_and_falls_with_noise(rng):
    image, noise = torch.rand(3, 24, 24, generator=rng), torch.randn(3, 24, 24, generator=rng)
    torch.testing.assert_close(ssim(image, image + 0.1 * noise), ssim(image + 0.1 * noise, image))
    values = [ssim(image + sigma * noise, image) for sigma in (0.01, 0.1, 0.5)]
    assert values == sorted(values, reverse=True)


def test_nan_stays_visible(rng):
    image = torch.rand(3, 16, 16, generator=rng)
    broken = image.clone()
    broken[0, 8, 8] = torch.nan
    assert psnr(broken, image).isnan()
    assert ssim(broken, image).isnan()


def test_ssim_refuses_an_image_smaller_than_its_window():
    with pytest.raises(ParameterError, match="10x20, expected at least 11x11"):
        ssim(torch.zeros(3, 10, 20), torch.zeros(3, 10, 20))


def test_exact_depth_has_no_error(rng):
    depth = 1 + torch.rand(2, 8, 8, generator=rng)
    errors = depth_errors(depth, depth)
    assert errors.abs_rel.tolist() == errors.rmse_m.tolist() == [0, 0]
    assert errors.delta1.tolist() == [1, 1]


def test_a_scaled_depth_gives_the_formulas(rng):
    exact = 1 + torch.rand(5, 6, 7, generator=rng, dtype=torch.float64)
    errors = depth_errors(1.2 * exact, exact)
    torch.testing.assert_close(errors.abs_rel, torch.full((5,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(errors.rmse_m, 0.2 * exact.square().mean((-2, -1)).sqrt())
    assert errors.delta1.eq(1).all()
    assert depth_errors(1.26 * exact, exact).delta1.eq(0).all()
    assert depth_errors(exact / 1.26, exact).delta1.eq(0).all()


def test_pixels_without_exact_depth_take_no_part(rng):
    exact = 1 + torch.rand(1, 6, 6, generator=rng)
    predicted = 1.1 * exact
    expected = depth_errors(predicted, exact)
    holes = torch.cat([exact, torch.tensor([0.0, -1, torch.nan, torch.inf, 0, 0])[None, None]], dim=1)
    wild = torch.cat([predicted, torch.full((1, 1, 6), 1e6)], dim=1)
    for got, want in zip(depth_errors(wild, holes), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_a_hole_or_a_negative_depth_counts_as_an_error():
    exact = torch.full((1, 2, 2), 2.0)
    hole = depth_errors(torch.zeros(1, 2, 2), exact)
    assert (hole.abs_rel, hole.rmse_m, hole.delta1) == (1, 2, 0)
    assert depth_errors(-exact, exact).delta1 == 0


def test_no_exact_depth_at_all_is_a_data_error():
    with pytest.raises(DataError, match="1 of 2 images have no pixel"):
        depth_errors(torch.ones(2, 3, 3), torch.stack([torch.ones(3, 3), torch.zeros(3, 3)]))


def eigen_errors(depth, exact):
    """The formulas of Eigen et al. (2014) on the valid pixels of one image, written out."""
    ratio = np.maximum(exact / depth, depth / exact)
    return {
        "abs_rel": np.mean(np.abs(exact - depth) / exact),
        "sq_rel": np.mean((exact - depth) ** 2 / exact),
        "rmse_m": np.sqrt(np.mean((exact - depth) ** 2)),
        "rmse_log": np.sqrt(np.mean((np.log(exact) - np.log(depth)) ** 2)),
        **{f"delta{i}": np.mean(ratio < 1.25**i) for i in (1, 2, 3)},
    }


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)], ids=str)
def test_every_depth_error_is_its_formula_on_each_image(batch, rng):
    exact = 1 + 3 * torch.rand(*batch, 9, 11, generator=rng, dtype=torch.float64)
    depth = exact * (0.6 * torch.randn(*batch, 9, 11, generator=rng, dtype=torch.float64)).exp()
    valid = torch.rand(*batch, 9, 11, generator=rng) > 0.3
    errors = depth_errors(depth, exact, valid)
    images = zip(*(t.reshape(-1, 9, 11).numpy() for t in (depth, exact, valid)), strict=True)
    for number, (one, truth, mask) in enumerate(images):
        for name, value in eigen_errors(one[mask], truth[mask]).items():
            assert getattr(errors, name).reshape(-1)[number].item() == pytest.approx(value, rel=1e-12), name


def test_the_depth_table_names_what_the_function_gives():
    assert set(DEPTH_METRICS) == set(DepthErrors._fields)
    assert {name for name, info in DEPTH_METRICS.items() if info.better == "higher"} == {"delta1", "delta2", "delta3"}


def test_the_shares_within_a_ratio_are_nested(rng):
    exact = 1 + torch.rand(4, 12, 12, generator=rng)
    errors = depth_errors(exact * (0.5 * torch.randn(4, 12, 12, generator=rng)).exp(), exact)
    assert bool((errors.delta1 < errors.delta2).all())
    assert bool((errors.delta2 < errors.delta3).all())


def test_median_scaling_takes_out_a_scale_and_nothing_else(rng):
    exact = 1 + torch.rand(3, 8, 9, generator=rng, dtype=torch.float64)
    depth = exact * (0.1 * torch.randn(3, 8, 9, generator=rng, dtype=torch.float64)).exp()
    scales = torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)[:, None, None]
    scaled = depth_errors(scales * depth, exact, median_scaled=True)
    for got, want in zip(scaled, depth_errors(depth, exact, median_scaled=True), strict=True):
        torch.testing.assert_close(got, want)
    perfect = depth_errors(scales * exact, exact, median_scaled=True)
    torch.testing.assert_close(perfect.rmse_log, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert bool((depth_errors(scales * exact, exact).abs_rel[[0, 2]] > 0.8).all())


def test_median_scaling_looks_at_valid_pixels_only(rng):
    exact = 1 + torch.rand(1, 8, 8, generator=rng)
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    valid[:, :5] = False
    depth = torch.where(valid, 2 * exact, 1e4)
    assert depth_errors(depth, exact, valid, median_scaled=True).abs_rel.item() == pytest.approx(0, abs=1e-6)


def test_a_hole_has_a_finite_logarithmic_error_and_no_scale():
    exact = torch.full((1, 2, 2), 2.0)
    assert depth_errors(torch.zeros(1, 2, 2), exact).rmse_log.item() == pytest.approx(np.log(2000))
    with pytest.raises(DataError, match="median depth of 0 or less"):
        depth_errors(torch.zeros(1, 2, 2), exact, median_scaled=True)


def test_nan_in_a_depth_stays_visible(rng):
    exact = 1 + torch.rand(1, 6, 6, generator=rng)
    depth = exact.clone()
    depth[0, 2, 2] = torch.nan
    errors = depth_errors(depth, exact)
    assert all(getattr(errors, name).isnan() for name in ("abs_rel", "sq_rel", "rmse_m", "rmse_log"))
