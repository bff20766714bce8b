"""The hosted controller keeps the promises of every controller that are not up to W&B's servers.

Left out, and why:

- ``test_random_draws_depend_on_seed_and_number_alone``, ``test_the_seed_is_the_sweeps``: W&B draws, and takes no seed.
- ``test_hyperband_decides_at_the_report_that_reaches_the_band``: W&B decides, and says so at the next heartbeat, and
  not why (``test_a_stop_of_hyperband`` instead).
- Kept by the server here, while W&B's own gives several agents equal points at times:
  ``test_threads_on_one_controller_share_a_grid``, ``test_bayes_never_gives_two_agents_one_point``.
"""

import pytest

from tests.controllers.conformance import ControllerTestCase
from tests.hosted.parts import make_controller


class TestHosted(ControllerTestCase):
    test_random_draws_depend_on_seed_and_number_alone = None
    test_the_seed_is_the_sweeps = None
    test_hyperband_decides_at_the_report_that_reaches_the_band = None

    @pytest.fixture(autouse=True)
    def place(self, server, tmp_path):
        self.server, self.tmp_path, self.controllers = server, tmp_path, []
        yield
        for controller in self.controllers:
            controller.close()

    def make(self, config, **options):
        directory = self.tmp_path / str(len(self.controllers))
        directory.mkdir()
        self.made = {"config": config, "directory": directory}
        controller = self.again(**options)
        self.made["sweep_id"] = controller.sweep_id
        return controller

    def again(self, seed=None, **options):
        controller = make_controller(self.server, **self.made, **options)
        self.controllers.append(controller)
        return controller
