"""A trial on several tasks of one job: rank 0 is the agent, and the other ranks run the trial that it runs.

A launcher with ``tasks_per_node`` or ``nodes`` runs an agent's callable in each task. Only rank 0 speaks to the
controller, through a ``leader.Leader``, which announces its trials in files next to the agent's log. The other ranks
run the same loop (``agent.loop.run_agent``) with a ``follower.Follower`` as their controller, which reads those files
and never touches the storage.
"""
