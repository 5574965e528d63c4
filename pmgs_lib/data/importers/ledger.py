"""What the imports of one kind have put into a folder so far: kept so that a kill at any moment loses one batch.

A chunk belongs to the data set once its record, a small file in `.<kind>.import/`, stands; the index is made to agree
with the records at once, and the manifest swallows them at the end. Whatever lies there without a record (a chunk that
was just being written) is removed by the next import of that kind; a lock keeps a second one out meanwhile.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.data.folders import INDEX_NAME, claim_index
from pmgs_lib.data.importers.collection import Listing, Written
from pmgs_lib.data.manifests import CollectionManifest, SceneRecord, collection_manifest_path
from pmgs_lib.data.writing import index_lock, remove_chunk
from pmgs_lib.errors import DataError

PLAN = "plan.json"  # names of chunks that an import is about to write


class Ledger:
    """State of one kind of import in the folder of one split."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.manifest_path = collection_manifest_path(folder, kind)
        self.records = folder / f".{kind}.import"
        self.scenes: dict[str, SceneRecord] = {}
        self.left_out: dict[str, str] = {}
        self.sources: tuple[str, ...] = ()
        self._read()

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, kind: str) -> Iterator["Ledger"]:
        """The ledger, locked, with what a killed import left behind removed. DataError if another import runs."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{kind}.import.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise DataError(
                f"folder {folder}: another {kind} import is writing there; wait for it, or choose another folder"
            ) from None
        try:
            ledger = cls(folder, kind)
            ledger._recover()
            yield ledger
        finally:
            lock.release()

    def _read(self) -> None:
        if self.manifest_path.is_file():
            content = read_json(self.manifest_path, what="manifest")
            where = f"manifest {self.manifest_path}"
            values = content if isinstance(content, dict) else {}
            manifest = CollectionManifest.build(values, where, DataError)
            self.scenes, self.left_out = dict(manifest.scenes), dict(manifest.left_out)
            self.sources = manifest.sources
        for record in sorted(self.records.glob("*.record.json")):
            content = read_json(record, what="record of an import")
            for key, scene in (content if isinstance(content, dict) else {}).items():
                self.scenes[key] = SceneRecord.build(scene, f"record of an import {record}", DataError)
                self.left_out.pop(key, None)

    def _recover(self) -> None:
        """Make the folder agree with the records: no chunk of an ended import, and an index that knows the finished."""
        finished = {scene.chunk for scene in self.scenes.values()}
        for name in self._planned():
            if name not in finished:
                for stray in (self.folder / name, *self.folder.glob(f".{name}.*.part")):
                    remove_chunk(stray)
        with index_lock(self.folder):
            for name in (self.manifest_path.name, INDEX_NAME):
                for half in self.folder.glob(f".{name}.*.part"):
                    half.unlink(missing_ok=True)
        gone = [key for key, scene in self.scenes.items() if not (self.folder / scene.chunk).is_file()]
        for key in gone:
            del self.scenes[key]
        if self.scenes or gone:
            claim_index(self.folder, {key: scene.chunk for key, scene in self.scenes.items()}, forget=gone)

    def _planned(self) -> list[str]:
        path = self.records / PLAN
        content = read_json(path, what="plan of an import") if path.is_file() else []
        return [name for name in content if isinstance(name, str) and name == Path(name).name]

    def plan(self, chunks: int) -> list[Path]:
        """Names that nothing has for so many chunks. They are noted first: what a kill leaves of them is then known."""
        used = [path.stem.removeprefix(f"{self.kind}-") for path in self.folder.glob(f"{self.kind}-*.torch")]
        first = 1 + max((int(number) for number in used if number.isdecimal()), default=-1)
        names = [f"{self.kind}-{first + number:06d}.torch" for number in range(chunks)]
        write_json(self.records / PLAN, names)
        return [self.folder / name for name in names]

    def others(self) -> dict[str, str]:
        """Scenes of the folder that other imports wrote: key -> chunk."""
        index = claim_index(self.folder, {})
        return {key: chunk for key, chunk in index.items() if key not in self.scenes}

    def add(self, written: Written) -> None:
        """Take in a finished batch; from here on it survives."""
        self.left_out |= written.left_out
        if not written.scenes:
            return
        chunk = next(iter(written.scenes.values())).chunk
        record = {key: scene.model_dump(mode="json") for key, scene in written.scenes.items()}
        write_json(self.records / f"{chunk}.record.json", record)
        for key, scene in written.scenes.items():
            self.scenes[key] = scene
            self.left_out.pop(key, None)
        claim_index(self.folder, {key: scene.chunk for key, scene in written.scenes.items()})

    def clear(self) -> None:
        """Forget and remove all that this kind of import has written here."""
        claim_index(self.folder, {}, forget=list(self.scenes))
        for chunk in {scene.chunk for scene in self.scenes.values()}:
            remove_chunk(self.folder / chunk)
        self.manifest_path.unlink(missing_ok=True)
        shutil.rmtree(self.records, ignore_errors=True)
        self.scenes, self.left_out, self.sources = {}, {}, ()

    def finish(self, source: str, listing: Listing, waiting: int, options: Mapping[str, Any]) -> CollectionManifest:
        """Write the manifest, which takes the place of the records."""
        digest = hashlib.sha256()
        for key in sorted(self.scenes):
            digest.update(f"{key} {self.scenes[key].digest}\n".encode())
        sources = self.sources if source in self.sources else (*self.sources, source)
        manifest = CollectionManifest(
            kind=self.kind,
            split=self.folder.name,
            sources=sources,
            listed=len(self.scenes) + len(self.left_out) + waiting,
            imported=len(self.scenes),
            waiting=waiting,
            left_out=dict(sorted(self.left_out.items())),
            scenes=dict(sorted(self.scenes.items())),
            digest=digest.hexdigest(),
            options=dict(options),
            notes=listing.notes,
        )
        write_json(self.manifest_path, manifest.model_dump(mode="json"))
        shutil.rmtree(self.records, ignore_errors=True)
        return manifest
