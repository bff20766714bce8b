"""A trial on several tasks of one job: rank 0 is the agent, and the other ranks run the same trial.

A launcher with ``tasks_per_node`` or ``nodes`` runs an agent's callable in each task. Only rank 0 speaks to the
controller, through a ``leader.Leader``, which announces its trials in files next to the agent's log. The other ranks
run the same loop (``agent.loop.run_agent``) with a ``follower.Follower`` as their controller, which reads those files
and never touches the storage.

What happens when a process dies, which the others notice by its lock:

* Rank 0 dies: the others stop their trial as soon as they notice, and end. The trial's lease expires.
* Another rank dies: rank 0 may hang in a collective call with it. Rank 0 closes the trial as crashed, kills its
  process, and ends the agent with ``RankLostError``, since the job has lost a task.
* Another rank's trial fails or dies, but the rank lives: rank 0 has some seconds to fail by itself, and then closes the
  trial. The next trial starts when all ranks have ended this one.
"""
