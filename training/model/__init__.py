"""From text to scored codes, defined once: windows, forward, calibration, thresholds, evidence."""
