"""The figure of the scale and the illumination of a segmented image."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np

from emtools.models.random_field import FieldParams, Plane, RandomField
from emtools.plots import segment_field


def test_illumination_is_blank_where_nothing_bright_can_tell_it(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_field, "save", lambda figure, _folder, picture: (figure, picture))
    values = np.random.default_rng(0).normal(size=(1, 40, 50))
    for bend, dark in ((-0.2, False), (-3.0, True)):
        model = RandomField(2, 1, 1.0)
        params = FieldParams(np.array([[0.0], [2.0]]), np.ones(1), np.array([[0.0, 0.0, bend, 0.0, bend]]))
        found = SimpleNamespace(
            fit=SimpleNamespace(model=model, params=params), levels=[SimpleNamespace(scale=1.0, blur=1.0)],
            values=values, posterior=np.full((2, 40, 50), 0.5),
        )  # fmt: skip
        gain = model.gains(params, Plane(values))[0]
        assert (gain <= 0.0).any() == dark
        figure, picture = segment_field.draw_levels(found, 0, None, tmp_path)
        shown = figure.axes[1].images[0].get_array()
        np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.round(gain * segment_field.STEPS) <= 0.0)
        plt.close(figure)
        assert ("It is blank where it is 0 or less" in picture.caption) == dark
