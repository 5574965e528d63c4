"""Explorers in notebooks of the tests' own: several at once, a kernel that goes, how fast pictures come."""

import re

import pytest
from explorer_page import ExplorerPage

SCENE = """
from pmgs_lib.data import make_scene
from pmgs_lib.evaluation.methods import GaussianMethod
from pmgs_lib.models import load_checkpoint
from pmgs_lib.ui.explorer import explore
example = make_scene(7, frames=20, height={height}, width={width}).example([7, 13], [9, 11])
output = GaussianMethod(load_checkpoint("depthsplat-tiny"), name="tiny")(example)
"""
SMALL = SCENE.format(height=64, width=112)
LARGE = SCENE.format(height=128, width=224)  # 57,344 Gaussians
SCENES = """
from pmgs_lib import Example
three = explore({"one": example, "a batch": Example.collate([example])}, models=["depthsplat-tiny"])
three
"""
SHOW = 'one = explore(example, gaussians={"tiny": output}, device="cuda")\none'
AGAIN = 'two = explore(example, gaussians={"tiny": output})\ntwo'
FEWEST_FRAMES = 8.0  # a second, coarse


def test_two_explorers_live_apart_and_say_when_their_kernel_is_gone(opened, laboratory):
    with opened(laboratory.write_cells("two_explorers", SMALL, SHOW, AGAIN)) as notebook:
        notebook.run_all()
        first, second = ExplorerPage(notebook), ExplorerPage(notebook, 1)
        assert "no GPU is available" in first.text("note")  # it was asked for, and is hidden from every kernel here
        assert "drawn on the CPU" in first.text("note")
        still = second.settled()
        moved = first.expect_change(lambda: first.drag(60), "a drag in the first explorer")
        assert second.settled() == still
        second.expect_change(lambda: second.drag(-60), "a drag in the second explorer")
        assert first.settled() == moved
        notebook.screenshot("both")

        notebook.expected.append("Connection lost, reconnecting")  # to a kernel that restarts
        notebook.execute("notebook:restart-kernel", dialog="Confirm Kernel Restart")
        first.drag(30)
        notebook.await_change(lambda: first.text("error"), "", "a drag without a kernel")
        assert re.search(r"kernel .*(gone|busy)", first.text("error"))
        notebook.screenshot("kernel_gone")
        notebook.run_all()
        again = ExplorerPage(notebook)
        again.expect_change(lambda: again.drag(60), "a drag after the restart")


def test_a_choice_that_cannot_be_shown_is_taken_back_with_its_reason(opened, laboratory):
    with opened(laboratory.write_cells("refused_choice", SMALL, SCENES)) as notebook:
        notebook.run_all()
        explorer = ExplorerPage(notebook)
        explorer.choose("scene", "a batch")
        notebook.await_change(lambda: explorer.text("error"), "", "an answer to the choice")
        assert "expected one scene" in explorer.text("error")
        notebook.await_change(lambda: explorer.part("scene").input_value(), "a batch", "the choice is taken back")
        explorer.expect_change(lambda: explorer.drag(60), "a drag after the refusal")


@pytest.mark.prove
@pytest.mark.timing
def test_pictures_follow_the_hand_quickly(opened, laboratory):
    """Coarse pictures of 57,344 Gaussians that reach the page while a hand moves without rest."""
    with opened(laboratory.write_cells("quick_explorer", LARGE, SHOW)) as notebook:
        notebook.run_all()
        explorer = ExplorerPage(notebook)
        explorer.expect_change(lambda: explorer.drag(40), "a drag")  # whatever is made at the first picture
        rate = explorer.frames_a_second(seconds=10)
    print(f"\nexplorer: {rate:.1f} coarse frames a second reach the page")
    assert rate >= FEWEST_FRAMES
