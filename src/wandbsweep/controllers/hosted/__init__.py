"""W&B's servers as the controller."""
