"""A server that also accepts artifacts (``server.artifacts``) and files (``server.stored``)."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from tests.hosted.server import WandbServer


class ArtifactServer(WandbServer):
    """Keeps uploads in memory, by path."""

    def __init__(self) -> None:
        super().__init__()
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self._numbers = itertools.count()
        self._http.RequestHandlerClass.do_PUT = _make_put(self)

    def list_artifacts(self, kind: str) -> list[dict[str, Any]]:
        return [artifact for artifact in self.artifacts.values() if artifact["artifactTypeName"] == kind]

    def read_file(self, artifact: dict[str, Any], name: str) -> bytes:
        return self.stored[f"{artifact['id']}/{name}"]

    def on_CreateRunFiles(self, run: str, files: list[str], **_: Any) -> Any:
        reply = [{"name": name, "uploadUrl": self._address(f"{run}/{name}")} for name in files]
        return {"createRunFiles": {"runID": f"bucket-{run}", "uploadHeaders": [], "files": reply}}

    def on_CreateArtifact(self, input: dict[str, Any]) -> Any:
        found = f"artifact-{next(self._numbers)}"
        aliases = [alias["alias"] for alias in input.get("aliases") or []]
        for other in self.artifacts.values():
            if (other["artifactTypeName"], other["artifactCollectionName"]) == self._name(input):
                other["aliases"] = [alias for alias in other["aliases"] if alias not in aliases]
        self.artifacts[found] = {**input, "id": found, "aliases": aliases, "committed": False}
        reply = {"id": found, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": reply}}

    def _name(self, artifact: dict[str, Any]) -> tuple[str, str]:
        names = artifact.get("artifactCollectionNames") or [artifact.get("artifactCollectionName")]
        artifact["artifactCollectionName"] = names[0]
        return artifact["artifactTypeName"], names[0]

    def on_CreateArtifactManifest(self, artifactID: str, **_: Any) -> Any:
        file = {"id": "1", "uploadUrl": self._address(f"{artifactID}/manifest"), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{artifactID}", "file": file}}}

    def on_UpdateArtifactManifest(self, artifactManifestID: str, **_: Any) -> Any:
        address = self._address(f"{artifactManifestID.removeprefix('manifest-')}/manifest")
        file = {"id": "1", "uploadUrl": address, "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": artifactManifestID, "file": file}}}

    def on_CreateArtifactFiles(self, input: dict[str, Any]) -> Any:
        edges = [{"node": self._place(spec)} for spec in input["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _place(self, spec: dict[str, Any]) -> dict[str, Any]:
        path = f"{spec['artifactID']}/{spec['name']}"
        reply = {"storagePath": path, "uploadUrl": self._address(path), "uploadHeaders": []}
        return {**reply, "uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}}

    def on_CommitArtifact(self, artifactID: str) -> Any:
        artifact = self.artifacts[artifactID]
        artifact["committed"] = True
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": artifact["digest"]}}}

    def _address(self, path: str) -> str:
        return f"{self.url}/upload/{path}"


def _make_put(server: ArtifactServer) -> Any:
    def do_PUT(self: Any) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with server.lock:
            server.stored[re.sub(r"^/upload/", "", self.path)] = data
        self._send(200, {})

    return do_PUT


def read_metadata(artifact: dict[str, Any]) -> dict[str, Any]:
    return json.loads(artifact["metadata"])
