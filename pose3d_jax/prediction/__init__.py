"""From a trained network to poses in photographs and videos."""
