"""An interrupted fit goes on to the same bytes; a checkpoint of anything else is refused."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest

from emtools.engine.checkpoint import Checkpoint, digest_of
from emtools.engine.chunks import ArraySource
from emtools.engine.starts import fit
from emtools.errors import InputError
from emtools.io.fitfile import fit_record
from emtools.models.mixture import GaussianMixture


class Killed(Exception):
    pass


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([rng.normal(-1.2, 1, (80, 1)), rng.normal(1.2, 1, (80, 1))]))


def run(path=None, kill_at=None, values=None, told=None, **options):
    """A fit of two starts, killed at a pass where asked; its record as bytes."""
    seen = []

    def on_pass(row):
        if told is not None:
            told(row)
        seen.append(row)
        if len(seen) == kill_at:
            raise Killed

    source = ArraySource(rows() if values is None else values, chunk_rows=40)
    arguments = {"starts": 2, "seed": 3, **options}
    result = fit(GaussianMixture(3, 1), source, on_pass=on_pass, checkpoint=path, **arguments)
    record = fit_record(result, branch="test", inputs=[], command=[])
    return json.dumps(record).encode(), len(seen)


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr("emtools.engine.checkpoint.SECONDS", 0.0)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.mark.parametrize(
    "options", [{}, {"accelerate": False, "max_passes": 40}, {"warm": "incremental", "warm_passes": 3}]
)
def test_every_interruption_ends_in_the_same_bytes(tmp_path, eager, options):
    undisturbed, n_passes = run(**options)
    for kill_at in range(1, n_passes, max(1, n_passes // 4)):
        path = tmp_path / f"{kill_at}.checkpoint"
        with pytest.raises(Killed):
            run(path, kill_at, **options)
        again, n_again = run(path, **options)
        assert again == undisturbed
        assert n_again <= n_passes
        assert not path.exists()
    assert not list(tmp_path.iterdir())


def test_a_resumed_fit_repeats_little(tmp_path, eager):
    _, n_passes = run()
    path = tmp_path / "fit.checkpoint"
    with pytest.raises(Killed):
        run(path, n_passes - 1)
    _, n_again = run(path)
    assert n_again < n_passes // 2


def interrupted(path):
    with pytest.raises(Killed):
        run(path, 30)
    return path


def test_checkpoint_of_other_options_is_refused(tmp_path, eager):
    path = interrupted(tmp_path / "fit.checkpoint")
    with pytest.raises(InputError, match="another fit"):
        run(path, seed=4)


def test_checkpoint_of_other_data_is_refused(tmp_path, eager):
    path = interrupted(tmp_path / "fit.checkpoint")
    with pytest.raises(InputError, match="these data"):
        run(path, values=rows(1))


def test_damaged_checkpoint_is_refused(tmp_path, eager):
    path = interrupted(tmp_path / "fit.checkpoint")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="unreadable"):
        run(path)
    path.write_text("not a checkpoint")
    with pytest.raises(InputError, match="unreadable"):
        run(path)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


def test_checkpoint_cannot_run_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fit.checkpoint"
    path.write_bytes(pickle.dumps(("key", {0: Malicious()})))
    with pytest.raises(InputError, match="does not belong"):
        run(path)
    assert not (tmp_path / "made_by_a_pickle").exists()


def call(module, name, argument):
    """A pickle that calls ``module.name(argument)``, by a name that may have dots in it."""
    words = [b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name, argument)]
    return b"\x80\x04" + words[0] + words[1] + b"\x93" + words[2] + b"\x85R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("emtools.engine.checkpoint", "os.mkdir"),
        ("emtools.engine.checkpoint", "Path.mkdir"),
        ("emtools.io.outputs", "require_target"),
        ("emtools.report.own", "Path"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy", "load"),
        ("builtins", "exec"),
        ("builtins", "list"),
        ("os", "mkdir"),
    ],
)
def test_no_name_in_a_checkpoint_leads_to_a_command(module, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fit.checkpoint"
    path.write_bytes(call(module, name, "made_by_a_pickle"))
    with pytest.raises(InputError, match="does not belong"):
        run(path)
    assert not (tmp_path / "made_by_a_pickle").exists()


@pytest.mark.parametrize("place", ["folder", "file/below"])
def test_places_that_hold_no_file_are_refused(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        run(tmp_path / place)


def test_what_a_killed_fit_left_half_written_is_cleared_away(tmp_path):
    (tmp_path / "fit.checkpoint.123.tmp").write_bytes(b"half")
    run(tmp_path / "below" / "fit.checkpoint")
    run(tmp_path / "fit.checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["below"]


@pytest.mark.slow
def test_starts_in_threads_write_their_own_states(tmp_path, eager, monkeypatch):
    """A state that another thread changes while it is written would be torn; copies taken on the way show it."""
    taken = []

    def replace(source, target):
        if len(taken) % 5 == 0:
            (tmp_path / f"copy{len(taken)}").write_bytes(source.read_bytes())
        taken.append(target)
        source.rename(target)

    options = {"starts": 4, "threads": 4}
    values = rows()
    source = ArraySource(values)
    arguments = {"seed": 3, "certificate": False, **options}
    expected = fit(GaussianMixture(3, 1), source, **arguments)
    monkeypatch.setattr("emtools.engine.checkpoint.os.replace", replace)
    fit(GaussianMixture(3, 1), source, checkpoint=tmp_path / "fit.checkpoint", **arguments)
    monkeypatch.undo()
    copies = sorted(tmp_path.glob("copy*"))
    assert len(copies) > 5
    for copy in copies:
        again = fit(GaussianMixture(3, 1), source, checkpoint=copy, **arguments)
        assert [row.objective for row in again.trace] == [row.objective for row in expected.trace]
        assert again.loglik == expected.loglik


def test_identities_differ_in_the_last_digit_of_a_long_array(tmp_path):
    one = np.linspace(0.0, 1.0, 5000)
    two = one.copy()
    two[2500] = np.nextafter(two[2500], 1.0)
    keys = {Checkpoint(tmp_path / "x", {"scale": scale}, "emtools").key for scale in (one, one.copy(), two)}
    assert len(keys) == 2


def forged(path, change):
    """The checkpoint with its first state changed, and the right hash."""
    kept = Checkpoint(path, (), "emtools")
    key, states, _ = kept.read(path.read_bytes())
    state = kept.read(states[0])
    states[0] = pickle.dumps(change(state) or state, protocol=5)
    path.write_bytes(pickle.dumps((key, states, digest_of(states)), protocol=5))


def as_text(state):
    return "a state"


def of_more_components(state):
    wider = GaussianMixture(5, 1).initial_params(ArraySource(rows()), np.random.default_rng(0), "kmeans++")
    object.__setattr__(state, "params", wider)


def without_a_trace(state):
    object.__setattr__(state, "trace", None)


def with_words_for_numbers(state):
    object.__setattr__(state.point if hasattr(state, "point") else state, "objective", "high")


@pytest.mark.parametrize("kill_at", [8, 30])
@pytest.mark.parametrize("change", [as_text, of_more_components, without_a_trace, with_words_for_numbers])
def test_states_that_were_altered_on_purpose_are_one_clear_error(tmp_path, eager, change, kill_at):
    path = tmp_path / "fit.checkpoint"
    with pytest.raises(Killed):
        run(path, kill_at)
    forged(path, change)
    with pytest.raises(
        InputError, match=r"fit\.checkpoint: states with which a fit cannot go on.*delete it to start anew"
    ):
        run(path)
    path.unlink()
    run(path)


def test_only_what_goes_on_from_a_checkpoint_is_blamed_on_it(tmp_path, eager, monkeypatch):
    path = tmp_path / "fit.checkpoint"
    monkeypatch.setattr(GaussianMixture, "m_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(path)
    monkeypatch.undo()
    interrupted(path)
    monkeypatch.setattr(GaussianMixture, "m_step", lambda *_: bytearray(2**62))
    with pytest.raises(MemoryError):
        run(path)
    monkeypatch.undo()
    interrupted(path)

    def complain(row):
        raise ValueError("a callback of the caller")

    for passes in (0, 3):
        told = []
        with pytest.raises(ValueError, match="a callback of the caller"):
            run(
                path,
                told=lambda row, told=told, passes=passes: told.append(row) if len(told) < passes else complain(row),
            )
    asked = []
    made = GaussianMixture.m_step

    def late(model, *arguments):
        asked.append(1)
        if len(asked) > 20:
            raise ValueError("a fault of the model")
        return made(model, *arguments)

    monkeypatch.setattr(GaussianMixture, "m_step", late)
    with pytest.raises(ValueError, match="a fault of the model"):
        run(path)
