"""Shapes: how many users there are at which moment, and when a run is over."""

import pytest

from loadtest.swarm.shapes import RUN_TIMES_S, Crowd, Shape, crowd_at

PER_S = 7.0


@pytest.mark.parametrize(
    ("shape", "at_s", "users"),
    [
        (Shape.NONE, 0, 100),
        (Shape.NONE, 99.9, 100),
        (Shape.RAMP, 0, 5),
        (Shape.RAMP, 40, 55),
        (Shape.RAMP, 80, 100),
        (Shape.RAMP, 99.9, 100),
        (Shape.SPIKE, 0, 10),
        (Shape.SPIKE, 39.9, 10),
        (Shape.SPIKE, 40, 100),
        (Shape.SPIKE, 59.9, 100),
        (Shape.SPIKE, 60, 10),
        (Shape.SOAK, 0, 20),
        (Shape.SOAK, 2.5, 60),
        (Shape.SOAK, 5, 100),
        (Shape.SOAK, 94.9, 100),
        (Shape.SOAK, 99.9, 20),
    ],
)
def test_a_shape_of_a_hundred_seconds_and_users(shape: Shape, at_s: float, users: int) -> None:
    crowd = crowd_at(shape, at_s, 100, PER_S, 100)
    assert crowd is not None and crowd.users == users


@pytest.mark.parametrize("shape", Shape)
def test_a_run_is_over_after_its_time_and_has_someone_in_it_until_then(shape: Shape) -> None:
    crowds = [crowd_at(shape, at_s, 3, PER_S, 10) for at_s in range(10)]
    assert all(crowd is not None and 1 <= crowd.users <= 3 for crowd in crowds)
    assert max(crowd.users for crowd in crowds if crowd is not None) == 3
    assert crowd_at(shape, 10, 3, PER_S, 10) is None


@pytest.mark.parametrize("shape", [shape for shape in Shape if shape is not Shape.NONE])
def test_a_shape_has_a_length_of_its_own(shape: Shape) -> None:
    assert crowd_at(shape, RUN_TIMES_S[shape] - 1, 3, PER_S) is not None
    assert crowd_at(shape, RUN_TIMES_S[shape], 3, PER_S) is None


def test_no_shape_and_no_run_time_never_ends() -> None:
    assert crowd_at(Shape.NONE, 1e9, 3, PER_S) == Crowd(3, PER_S)


def test_a_ramp_never_goes_down_and_a_spike_comes_at_once() -> None:
    ramp = [crowd_at(Shape.RAMP, at_s, 50, PER_S, 60) for at_s in range(60)]
    users = [crowd.users for crowd in ramp if crowd is not None]
    assert users == sorted(users)
    assert crowd_at(Shape.SPIKE, 30, 50, PER_S, 60) == Crowd(50, 50.0)


def test_a_soak_keeps_to_the_spawn_rate() -> None:
    assert crowd_at(Shape.SOAK, 30, 50, PER_S, 60) == Crowd(50, PER_S)
