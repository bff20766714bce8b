"""The model behind ``method: bayes``: a Gaussian process over configurations and their learning curves."""
