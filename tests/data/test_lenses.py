"""A lens bends rays by the published formula, can be undone where it has an inverse, and says where it has none."""

import pytest
import torch

from pmgs_lib.data.lenses import Lens, Photograph, Window, largest_window, resample
from pmgs_lib.errors import DataError

LENSES = [
    Lens(),
    Lens(0.0578421, -0.0805099, -0.000980296, 0.00015575),  # a phone
    Lens(-0.25, 0.07, 0.001, -0.002, -0.008),  # an action camera
    Lens(0.3, 0.1, 0.01, 0.02),
]


@pytest.fixture
def points(rng):
    return (torch.rand(3, 200, 2, generator=rng, dtype=torch.float64) - 0.5) * 1.3


@pytest.mark.parametrize("lens", LENSES)
def test_undistorting_is_the_inverse_of_distorting(lens, points):
    torch.testing.assert_close(lens.undistort(lens.distort(points)), points, atol=1e-12, rtol=0)
    torch.testing.assert_close(lens.distort(lens.undistort(points)), points, atol=1e-12, rtol=0)


@pytest.mark.parametrize("lens", LENSES)
def test_newton_uses_the_true_derivative(lens, points):
    flat = points.reshape(-1, 2)[:20]
    (a, b, d), determinant = lens._jacobian(flat)
    for number, point in enumerate(flat):
        exact = torch.autograd.functional.jacobian(lens.distort, point)
        found = torch.stack([torch.stack([a[number], b[number]]), torch.stack([b[number], d[number]])])
        torch.testing.assert_close(found, exact, atol=1e-12, rtol=0)
        torch.testing.assert_close(determinant[number], torch.linalg.det(exact), atol=1e-12, rtol=0)


def test_each_coefficient_does_what_its_formula_says():
    """Brown's model at (0.3, -0.4), where r^2 = 1/4, worked out by hand."""
    point = torch.tensor([0.3, -0.4], dtype=torch.float64)
    expected = {
        Lens(k1=0.1): (0.3 * 1.025, -0.4 * 1.025),
        Lens(k2=0.1): (0.3 * 1.00625, -0.4 * 1.00625),
        Lens(k3=0.1): (0.3 * 1.0015625, -0.4 * 1.0015625),
        Lens(p1=0.1): (0.3 + 2 * 0.1 * -0.12, -0.4 + 0.1 * (0.25 + 2 * 0.16)),
        Lens(p2=0.1): (0.3 + 0.1 * (0.25 + 2 * 0.09), -0.4 + 2 * 0.1 * -0.12),
    }
    for lens, place in expected.items():
        torch.testing.assert_close(lens.distort(point), torch.tensor(place, dtype=torch.float64), atol=1e-15, rtol=0)


def test_no_inverse_is_told_and_not_made_up():
    folding = Lens(k1=-0.5)  # largest distorted radius: 2/3 sqrt(2/3) = 0.544
    assert folding.undistort(torch.tensor([[0.6, 0.0]], dtype=torch.float64)).isnan().all()
    assert folding.undistort(torch.tensor([[0.5, 0.0]], dtype=torch.float64)).isfinite().all()
    photograph = Photograph(100, 100, 60.0, 60.0, 50.0, 50.0, folding)
    with pytest.raises(DataError, match="here: the lens distortion folds the picture over"):
        largest_window([photograph.undistorted(side) for side in photograph.border()], None, "here")


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("centered", [True, False])
def test_the_window_shows_nothing_from_outside_and_could_not_be_larger(lens, centered):
    photograph = Photograph(90, 120, 130.0, 128.0, 57.0, 47.5, lens)
    center = (photograph.cx, photograph.cy) if centered else None
    window = largest_window([photograph.undistorted(side) for side in photograph.border()], center, "here")
    source = photograph.distorted(window.centers())
    slack = 1e-3  # the border is looked at once a pixel, and may bulge in between
    assert source.amin() >= 0.5 - slack
    assert source[..., 0].amax() <= 119.5 + slack
    assert source[..., 1].amax() <= 89.5 + slack
    wider = photograph.distorted(Window(window.left - 1, window.top - 1, window.height + 2, window.width + 2).centers())
    sides = (
        wider[..., 0].amin() < 0.5,
        wider[..., 1].amin() < 0.5,
        wider[..., 0].amax() > 119.5,
        wider[..., 1].amax() > 89.5,
    )
    assert (sides[0] or sides[2]) and (sides[1] or sides[3]), "neither width nor height could grow"  # noqa: PT018
    if centered:
        assert window.left + window.width / 2 == pytest.approx(57.0)
        assert window.top + window.height / 2 == pytest.approx(47.5)
    if lens.is_pinhole and not centered:
        assert window == Window(0.0, 0.0, 90, 120)


def test_sampling_at_pixel_centres_changes_nothing(rng):
    image = torch.randint(0, 256, (20, 30, 3), generator=rng, dtype=torch.uint8)
    assert torch.equal(resample(image, Window(0.0, 0.0, 20, 30).centers()), image)
    assert torch.equal(resample(image, Window(4.0, 3.0, 10, 12).centers()), image[3:13, 4:16])
