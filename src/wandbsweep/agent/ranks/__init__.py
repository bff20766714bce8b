"""A trial on several tasks of one job: rank 0 is the agent, and the other ranks run the trial that it runs.

A launcher with ``tasks_per_node`` or ``nodes`` runs an agent's callable in each task. Only rank 0 speaks to the
controller, through a ``leader.Leader``, which announces its trials in files next to the agent's log. The other ranks
run the same loop (``agent.loop.run_agent``) with a ``follower.Follower`` as their controller, which reads those files
and never touches the storage.

What the death of a process leads to, seen through its lock:

* Rank 0 dies: the others stop their trial as soon as they notice, and end. The trial's lease expires.
* Another rank dies: rank 0 may hang in a collective call with it. It closes the trial as crashed, kills its process,
  and ends the agent with ``RankLostError``, since the job has lost a task.
* Another rank's trial fails or dies, and the rank lives: rank 0 gets some seconds to fail by itself, then it closes the
  trial. The next trial starts when all ranks have ended this one.
"""
