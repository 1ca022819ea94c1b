"""Exercises of lesson 04's sections of "Going deeper"."""

from __future__ import annotations

from helpers.exercises import Exercise

EXERCISES: list[Exercise] = []
