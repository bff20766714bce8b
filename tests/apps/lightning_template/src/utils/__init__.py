from src.utils.instantiators import instantiate_each as instantiate_each
from src.utils.logging_utils import log_hyperparameters as log_hyperparameters
from src.utils.pylogger import RankedLogger as RankedLogger
from src.utils.utils import extras as extras
from src.utils.utils import get_metric_value as get_metric_value
from src.utils.utils import task_wrapper as task_wrapper
