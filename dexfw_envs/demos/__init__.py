"""Demonstrations: stored episodes, their editing and recording."""
