"""The GraphQL operations that the agents of a W&B sweep need.

Two mutations have no public function in wandb: ``CreateAgent`` and ``Heartbeat``. Names and variables are those of
wandb 0.31; ``tests/hosted/test_wire.py`` compares them with the installed wandb.
"""

CREATE_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
    agent { id }
  }
}"""
HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) {
    agent { id }
    commands
  }
}"""
_RUN = "id name displayName sweepName state config createdAt"
AGENT_RUNS = f"""
query GetAgentRuns(
  $agentID: String!, $sweep: String!, $entity: String, $project: String, $first: Int, $order: String
) {{
  project(name: $project, entityName: $entity) {{
    sweep(sweepName: $sweep) {{
      agent(agentName: $agentID) {{ runs(first: $first, order: $order) {{ edges {{ node {{ {_RUN} }} }} }} }}
    }}
  }}
}}"""
RUNS = f"""
query Runs(
  $project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString
) {{
  project(name: $project, entityName: $entity) {{
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {{ edges {{ node {{ {_RUN} }} }} }}
  }}
}}"""
SWEEP = """
query GetSweep($name: String!, $project: String, $entity: String) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { id name state config } }
}"""
SET_STATE = """
mutation UpsertSweep($id: ID, $state: String, $entityName: String, $projectName: String) {
  upsertSweep(input: {id: $id, state: $state, entityName: $entityName, projectName: $projectName}) {
    sweep { name }
  }
}"""
RESUME_STATUS = """
query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { id name historyLineCount } }
}"""
VIEWER = """
query Viewer { viewer { id entity username teams { edges { node { name } } } } }"""
PROJECT = """
query GetProject($name: String!, $entity: String!) { project(name: $name, entityName: $entity) { id name } }"""
