"""Grids are the ones of the literature; a refinement keeps every node of what it refines."""

from itertools import pairwise

import numpy as np
import pytest
from problems import SCHEDULES

from dode.schedule import Flow
from dode.timesteps import grid, merged, nested, refine, same

DISCRETE, EDM = SCHEDULES["discrete"], SCHEDULES["edm"]


def times(made):
    return [node.t for node in made.nodes]


def test_named_grids_on_ddpm():
    assert times(grid(DISCRETE, 5)) == [999, 799, 599, 399, 199, -1]
    assert times(grid(DISCRETE, 3)) == [999, 666, 332, -1]  # 665.67 and 332.33 rounded
    assert times(grid(DISCRETE, 5, "leading")) == [800, 600, 400, 200, 0, -1]
    assert times(grid(DISCRETE, 5, "linspace")) == [999, 749, 500, 250, 0, -1]
    assert times(grid(DISCRETE, 10, "published")) == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0, -1]
    assert times(grid(DISCRETE, 2, [999, 300, -1])) == [999, 300, -1]


def test_karras_is_equation_5():
    made = times(grid(EDM, 5))
    expected = [(80 ** (1 / 7) + i / 4 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(5)]
    assert made[:-1] == pytest.approx(expected, rel=1e-12)
    assert made[-1] == 0
    assert times(grid(EDM, 1)) == [80, 0]


def test_logsnr_is_even_in_logsnr():
    levels = [node.logsnr for node in grid(SCHEDULES["vp"], 6, "logsnr").nodes[:-1]]
    gaps = [b - a for a, b in pairwise(levels)]
    assert gaps == pytest.approx([gaps[0]] * 5, rel=1e-9)


def test_end_at_t_min():
    assert times(grid(EDM, 4, end="t_min"))[-1] == 0.002
    assert len(times(grid(EDM, 4, end="t_min"))) == 5


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_every_default_grid_starts_and_ends_where_the_schedule_does(name, steps):
    schedule = SCHEDULES[name]
    made = grid(schedule, steps)
    assert len(made.nodes) == steps + 1
    assert (made.nodes[0].t, made.nodes[-1].t) == (schedule.t_max, schedule.t_end)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("where", ["uniform", "leading", "linspace"])
@pytest.mark.parametrize("end", ["data", "t_min"])
def test_grids_in_t_exist_on_every_schedule(name, where, end):
    schedule = SCHEDULES[name]
    nodes = grid(schedule, 4, where, end=end).nodes
    assert len(nodes) == 5
    assert nodes[-1].t == (schedule.t_end if end == "data" else schedule.t_min)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_a_refinement_keeps_the_nodes(name, parts):
    schedule = SCHEDULES[name]
    made = grid(schedule, 4)
    fine = refine(made, parts, schedule)
    assert all(any(same(node, inner) for inner in fine.nodes) for node in made.nodes)
    assert len(fine.nodes) <= parts * 4 + 1


def test_sizes_of_refinements():
    assert len(refine(grid(DISCRETE, 20), 10, DISCRETE).nodes) == 201
    assert len(refine(grid(DISCRETE, 20), 100, DISCRETE).nodes) == 1001  # whole times, without duplicates
    assert len(refine(grid(EDM, 5), 10, EDM).nodes) == 42  # four intervals of ten, and the step to σ = 0 whole


def test_grids_beyond_memory_are_refused():
    with pytest.raises(ValueError, match="ask for fewer"):
        grid(EDM, 4001)
    with pytest.raises(ValueError, match="smaller scale"):
        refine(grid(EDM, 50), 100, EDM)


def test_a_scale_beyond_the_times_there_are_is_refused():
    """Rather than looked through: every part of every interval would be tried."""
    with pytest.raises(ValueError, match="a teacher's scale of 1001 on a schedule of 1000 times"):
        refine(grid(DISCRETE, 10), 1001, DISCRETE)
    assert len(refine(grid(DISCRETE, 10), 1000, DISCRETE).nodes) == 1001


def test_a_refinement_has_the_grids_own_shift():
    flow = Flow(shift=3.0)
    made = grid(flow, 4)
    twice = refine(refine(made, 2, flow), 2, flow)
    assert twice.value(twice.nodes[3]) == made.value(twice.nodes[3])
    np.testing.assert_allclose([n.t for n in twice.nodes], [n.t for n in refine(made, 4, flow).nodes])


def test_a_shared_teacher_holds_every_students_nodes():
    students = [grid(DISCRETE, n) for n in (5, 7, 20)]
    shared = merged(students, 10, DISCRETE)
    assert len(shared.nodes) == 201 + 6  # the nodes of 7 steps that the 20-step refinement lacks
    assert all(any(same(n, known) for known in shared.nodes) for made in students for n in made.nodes)


def test_of_equally_long_grids_the_one_that_needs_the_fewest_insertions_is_refined():
    vp = SCHEDULES["vp"]
    students = [grid(vp, 6), grid(vp, 6, "logsnr"), grid(vp, 2), grid(vp, 3)]
    wanted, sizes = {node for made in students for node in made.nodes}, []
    for longest in students[:2]:
        fine = refine(longest, 4, vp).nodes
        sizes.append(len(fine) + sum(not any(same(node, known) for known in fine) for node in wanted))
    assert sizes[0] != sizes[1]
    for order in (students, students[::-1]):
        assert len(merged(order, 4, vp).nodes) == min(sizes)


def test_nested_grids_are_found():
    assert nested([grid(DISCRETE, n) for n in (5, 20, 7, 10, 14)], 10, DISCRETE) == [[1, 3, 0], [4, 2]]
    assert nested([grid(EDM, n) for n in (5, 10)], 10, EDM) == [[1], [0]]


@pytest.mark.parametrize(
    ("steps", "name", "says"),
    [
        (0, None, "at least one step"),
        (1001, None, "ask for fewer"),
        (3, "karas", "did you mean karras"),
        (2, [999, -1], "need 3 times"),
        (2, [300, 999, -1], "does not move on"),
    ],
)
def test_bad_grids_say_what_to_do(steps, name, says):
    with pytest.raises(ValueError, match=says):
        grid(DISCRETE, steps, name)
