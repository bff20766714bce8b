"""The commands of ``wandbsweep``, one module each."""
