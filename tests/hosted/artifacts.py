"""A server that takes artifacts and files besides: ``server.artifacts`` and ``server.stored`` are what came."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from tests.hosted.server import WandbServer


class ArtifactServer(WandbServer):
    """Uploads go to addresses of its own, and are kept in memory by path."""

    def __init__(self) -> None:
        super().__init__()
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self._numbers = itertools.count()
        self._http.RequestHandlerClass.do_PUT = _put(self)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [artifact for artifact in self.artifacts.values() if artifact["artifactTypeName"] == kind]

    def file(self, artifact: dict[str, Any], name: str) -> bytes:
        return self.stored[f"{artifact['id']}/{name}"]

    def on_CreateRunFiles(self, run: str, files: list[str], **_: Any) -> Any:
        told = [{"name": name, "uploadUrl": self._address(f"{run}/{name}")} for name in files]
        return {"createRunFiles": {"runID": f"bucket-{run}", "uploadHeaders": [], "files": told}}

    def on_CreateArtifact(self, input: dict[str, Any]) -> Any:
        found = f"artifact-{next(self._numbers)}"
        aliases = [alias["alias"] for alias in input.get("aliases") or []]
        for other in self.artifacts.values():
            if (other["artifactTypeName"], other["artifactCollectionName"]) == self._name(input):
                other["aliases"] = [alias for alias in other["aliases"] if alias not in aliases]
        self.artifacts[found] = {**input, "id": found, "aliases": aliases, "committed": False}
        told = {"id": found, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": told}}

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
        told = {"storagePath": path, "uploadUrl": self._address(path), "uploadHeaders": []}
        return {**told, "uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}}

    def on_CommitArtifact(self, artifactID: str) -> Any:
        artifact = self.artifacts[artifactID]
        artifact["committed"] = True
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": artifact["digest"]}}}

    def _address(self, path: str) -> str:
        return f"{self.url}/upload/{path}"


def _put(server: ArtifactServer) -> Any:
    def do_PUT(self: Any) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with server.lock:
            server.stored[re.sub(r"^/upload/", "", self.path)] = data
        self._send(200, {})

    return do_PUT


def metadata(artifact: dict[str, Any]) -> dict[str, Any]:
    return json.loads(artifact["metadata"])
