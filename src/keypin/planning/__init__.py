"""Do all clients survive a way of changing keys? Days in, days out; no clock, no network.

    clients    which pin files clients carry on which day, and which keys they refuse: the judge
    schedule   what a team does when: certificates, keys in service, pin files published
    start      what there is on the first day, from a pin file
    advice     other ways, each tried, when one does not work
    story      a plan as events: what happens, and what to do
    picture    a plan as SVG

docs/plan.md has the model in words.
"""

from __future__ import annotations

from .schedule import Impossible, Plan, Policy, Start, make_plan

__all__ = ["Impossible", "Plan", "Policy", "Start", "make_plan"]
