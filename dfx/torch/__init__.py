"""What needs torch: the networks, their training, and export. Prediction never imports this package."""
