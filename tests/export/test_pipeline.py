import numpy as np

from edgewright.data import Samples
from edgewright.export.pipeline import Pipeline
from edgewright.export.store import Store
from edgewright.export.verification import Verifier
from edgewright.progress import Silent


def test_a_step_is_given_every_calibration_sample_and_takes_what_its_option_says(tmp_path):
    samples = Samples({"x": np.zeros((4000, 1), np.float32)})
    job = Pipeline(Store(tmp_path), samples, Verifier(samples, Silent()), Silent())._job()
    assert job.calibration is not None and len(job.calibration) == len(samples.part("calibration")) > 2000
    assert job.validation is not None and len(job.validation) == len(samples.part("validation"))
