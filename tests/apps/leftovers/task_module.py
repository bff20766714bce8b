"""What the task imports when it runs: what the import sets must last for as long as the process."""

import logging
import os
import sys
import warnings

import numpy as np
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("of_import", lambda: "there")
logging.getLogger(__name__).addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", "of the import")
os.environ["OF_IMPORT"] = "there"
sys.path.append("of-import")
np.seterr(divide="ignore")
