"""What scripts/fleet.py is made of: a table of jobs, ComfyUIs as Ray actors, and a table of results.

Open dispatch.py first: it hands the jobs of plan.py to the workers of workers.py and keeps what comes back.
"""
