"""Exercises of lesson 02's sections of "Going deeper"."""

from __future__ import annotations

from helpers.exercises import Exercise

EXERCISES: list[Exercise] = []
