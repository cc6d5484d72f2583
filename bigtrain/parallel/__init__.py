"""Devices as a mesh, and which dimension of an array is split over which of its axes."""
