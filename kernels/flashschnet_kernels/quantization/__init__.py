"""Quantisation: linear layers in 16 bit (W16A16) with scales that keep every number in range.

`linear.quantize_linear_layers` turns a trained network into one whose linear layers run so;
`calibration.calibrate` measures on real inputs what that needs to know.
"""
