"""Where weights go: a folder of the stack's blob container, or of a node's own disk."""

import base64
import hashlib
import json
import os
import shutil
import time
import xml.etree.ElementTree as xml
from concurrent import futures
from pathlib import Path

from web import Failure, Refused, Remote, pause, say, text_of

MANIFEST = "zig-ai-weights.json"
BLOCK = int(os.environ.get("BLOCK_MIB", "32")) * 2**20
PATIENCE_S = float(os.environ.get("PATIENCE_SECONDS", "600"))
"""A role takes minutes to be known everywhere: learn.microsoft.com/azure/role-based-access-control/troubleshooting."""


class BlobFolder:
    """A folder of the stack's container. A blob is there only once all its blocks are committed."""

    def __init__(self, container, folder):
        self._container, self.folder = container, folder

    def __str__(self):
        return f"the weight storage, {self.folder}"

    def wait_for_access(self):
        """Lists the folder: name to size. Waits for a grant that was made a moment ago."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return {entry["name"].removeprefix(f"{self.folder}/"): entry["size"] for entry in self._container.list(f"{self.folder}/")}
            except Refused as error:
                if error.status not in (400, 401, 403) or time.monotonic() >= until:
                    hint = "this pod's identity needs a Storage Blob Data role on the container, and a way to it"
                    raise Failure(f"{self}: {error}: {hint}") from None
                say(f"{self}: {error.status} {error.reason}; a new grant takes minutes, waiting")
                pause(10)

    def manifest(self):
        try:
            return json.loads(self._container.call("GET", f"{self.folder}/{MANIFEST}")[2])
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def age_s(self):
        """Seconds since it was complete, or was found complete by a fetch that asked for it again."""
        return time.time() - self._container.about(f"{self.folder}/{MANIFEST}")["modified"]

    def others(self):
        """The other folders of the container that a fetch made."""
        folders = [name.removesuffix(f"/{MANIFEST}") for name in self._names("") if name.endswith(f"/{MANIFEST}")]
        return made_by_a_fetch(BlobFolder(self._container, folder) for folder in folders if folder != self.folder)

    def delete(self):
        """Deletes the folder, its manifest last, so that an interrupted deletion is continued. A fetch that wants the folder again looks at
        its files too."""
        names = [name for name in self._names(f"{self.folder}/") if name != f"{self.folder}/{MANIFEST}"]
        for name in (*names, f"{self.folder}/{MANIFEST}"):
            self._container.call("DELETE", name)

    def _names(self, prefix):
        return (entry["name"] for entry in self._container.list(prefix))

    def finish(self, manifest):
        text = json.dumps(manifest, indent=1).encode()
        self._container.call("PUT", f"{self.folder}/{MANIFEST}", text, {"x-ms-blob-type": "BlockBlob"})

    def bring(self, remote, pool):
        """All of the file, of which what came in an earlier run is not sent again."""
        path = f"{self.folder}/{remote.path}"
        ids = [_block_id(remote, index) for index in range(-(-remote.size // BLOCK))]
        staged = self._staged(path)

        def block(index):
            start, count = index * BLOCK, min(BLOCK, remote.size - index * BLOCK)
            if staged.get(ids[index]) != count:
                body = remote.read(start, count)
                checked = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
                self._container.call("PUT", path, body, checked, comp="block", blockid=ids[index])

        each(pool, block, range(len(ids)))
        listed = "".join(f"<Latest>{one}</Latest>" for one in ids)
        self._container.call("PUT", path, f"<BlockList>{listed}</BlockList>".encode(), comp="blocklist")

    def _staged(self, path):
        try:
            _, _, body = self._container.call("GET", path, comp="blocklist", blocklisttype="uncommitted")
        except Refused as error:
            if error.status == 404:
                return {}
            raise
        blocks = xml.fromstring(body).iter("Block")
        return {block.findtext("Name"): int(text_of(block, "Size")) for block in blocks}

    def remote(self, name, size, digests=None):
        path = f"{self.folder}/{name}"
        return Remote(name, size, self._container.url(path), self._container.headers, digests or {})

    def read(self, file, start, count):
        return self.remote(file.path, file.size).read(start, count)

    def discard(self, file):
        self._container.call("DELETE", f"{self.folder}/{file.path}")


def made_by_a_fetch(folders):
    """A copy that someone has made of one, with its manifest, is theirs."""
    return [folder for folder in folders if (manifest := folder.manifest()) and manifest.get("folder") == folder.folder]


def _block_id(remote, index):
    """Blocks of another version of the file have other ids."""
    version = hashlib.sha256(f"{remote.version} {BLOCK}".encode()).hexdigest()[:12]
    return base64.b64encode(f"{version}-{index:08d}".encode()).decode()


class NodeFolder:
    """A folder of the node's own disk, which gets its name only when it is complete."""

    def __init__(self, disk, folder):
        self._disk, self.folder = Path(disk), folder
        self.path, self._draft = self._disk / folder, self._disk / f".{folder}.part"

    def __str__(self):
        return f"this node's disk, {self.path}"

    def sizes(self):
        return {str(file.relative_to(self._draft)): file.stat().st_size for file in self._draft.rglob("*") if file.is_file()}

    def manifest(self):
        file = self.path / MANIFEST
        return json.loads(file.read_text()) if file.exists() else None

    def age_s(self):
        """Seconds since it was complete, or was found complete by an agent that was told of it again."""
        return time.time() - (self.path / MANIFEST).stat().st_mtime

    def renew(self):
        os.utime(self.path / MANIFEST)

    def others(self):
        """The other folders of the disk that an agent made."""
        folders = [file.parent.name for file in self._disk.glob(f"*/{MANIFEST}")]
        return made_by_a_fetch(NodeFolder(self._disk, folder) for folder in folders if folder != self.folder)

    def delete(self):
        """Deletes the folder, which is not complete from the first step on, however far this comes."""
        shutil.rmtree(self._draft, ignore_errors=True)
        self.path.rename(self._draft)
        shutil.rmtree(self._draft)

    def clear(self):
        """Deletes what interrupted copies and interrupted deletions of other folders left on the disk. Nobody reads it."""
        for draft in self._disk.glob(".*.part"):
            if draft != self._draft:
                shutil.rmtree(draft)

    def has_room(self, files):
        self._draft.mkdir(parents=True, exist_ok=True)
        there = self.sizes()
        needed, free = sum(file.size - there.get(file.path, 0) for file in files), shutil.disk_usage(self._draft).free
        if needed > free:
            earlier = sum(file["size"] for other in self.others() for file in other.manifest()["files"])
            kept = f", as pods may still read the {earlier / 2**30:.1f} GiB of earlier weights" if earlier else ""
            raise Failure(
                f"{self}: {needed / 2**30:.1f} GiB are to come and {free / 2**30:.1f} GiB are free{kept}: a size with a larger local disk"
            )

    def bring(self, remote, pool):
        file = self._draft / remote.path
        file.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            each(pool, lambda start: _write(target, remote, start), range(0, remote.size, BLOCK))
            os.fsync(target)
        finally:
            os.close(target)

    def read(self, file, start, count):
        with (self._draft / file.path).open("rb") as opened:
            opened.seek(start)
            return opened.read(count)

    def discard(self, file):
        (self._draft / file.path).unlink()

    def finish(self, manifest):
        (self._draft / MANIFEST).write_text(json.dumps(manifest, indent=1))
        # Servers are other users.
        for entry in (self._draft, *self._draft.rglob("*")):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
        os.sync()
        self._draft.rename(self.path)


def _write(target, remote, start):
    body = remote.read(start, min(BLOCK, remote.size - start))
    while body:
        written = os.pwrite(target, body, start)
        body, start = body[written:], start + written


def each(pool, function, items):
    """Calls it for all items; the first failure ends it."""
    running = [pool.submit(function, item) for item in items]
    try:
        for one in futures.as_completed(running):
            one.result()
    except BaseException:
        for one in running:
            one.cancel()
        raise
