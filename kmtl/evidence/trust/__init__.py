"""How far a head is to be trusted: calibration and conformal sets."""
