"""Checks of pins: a pin file alone (lint), against its servers (live), against what is to come."""
