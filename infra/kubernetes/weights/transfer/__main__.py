"""Brings a model's weights to where they are read, once, and checks every byte: the program of the fetch Job and of the nodes' agent.

    python weights_transfer fetch    from $SOURCE into a folder of the stack's blob container
    python weights_transfer keep     from that folder to this node's own disk, then stays
    python weights_transfer forget   deletes the folders of earlier sources that are older than $RETENTION_SECONDS

It runs in a bare Python image from a ConfigMap: the standard library only, and nothing of this repository.

A folder is complete when it has its manifest, which is written last, after each file was read back from where it now is and compared
with what the source says of it. Blocks go over in parallel and in any order; those that arrived before an interruption are not sent
again. A run that finds its manifest does nothing. Every failure is one line and exit code 1.

Environment: SOURCE (hf://, https://, oci://, as `model.source` writes it), TOKEN (of that source), FILE_NAME (what a source of one file
is called in the folder), ONLY_FORMAT (how the names of a model's weights end, if the server loads no others), STORAGE
(https://ACCOUNT.blob.core.windows.net/CONTAINER), FOLDER, NODE_DISK (for keep), RETENTION_SECONDS (for forget, and for keep if the
node's copies are to go too), and what AKS's workload identity adds (AZURE_...).
"""

import errno
import hashlib
import os
import signal
import sys
import time
from concurrent import futures

from blobs import Container
from folders import BLOCK, MANIFEST, BlobFolder, NodeFolder
from sources import remote_files
from web import Failure, Refused, say

WORKERS = 8


def digests_of(place, file, pool):
    """Returns the digests of the file as it is now, read back from the place. Blocks are read a few ahead of the sum."""
    known = {"sha256": hashlib.sha256, "md5": hashlib.md5, "git": lambda: hashlib.sha1(f"blob {file.size}\0".encode())}
    sums = {name: known[name]() for name in {"sha256", *file.digests}}
    starts, ahead = iter(range(0, file.size, BLOCK)), []
    while True:
        while len(ahead) < WORKERS and (start := next(starts, None)) is not None:
            ahead.append(pool.submit(place.read, file, start, min(BLOCK, file.size - start)))
        if not ahead:
            return {name: one.hexdigest() for name, one in sums.items()}
        body = ahead.pop(0).result()
        for one in sums.values():
            one.update(body)


def transfer(files, there, place, source):
    """Brings what is not there, checks all of it, and says so in the manifest. `there`: name to size."""
    began, moved, entries = time.monotonic(), 0, []
    with futures.ThreadPoolExecutor(WORKERS) as pool:
        for file in files:
            if file.path.startswith("/") or ".." in file.path.split("/"):
                raise Failure(f"{file.path}: is outside the folder")
            # What is there from an interrupted run may be whole: it is read, and brought again if it is not.
            tries = ("there", "brought") if there.get(file.path) == file.size else ("brought",)
            for how in tries:
                if how == "brought":
                    place.bring(file, pool)
                    moved += file.size
                have = digests_of(place, file, pool)
                wrong = {name: digest for name, digest in file.digests.items() if have[name] != digest}
                if not wrong:
                    break
                place.discard(file)
                if how == "brought":
                    [(name, digest), *_] = wrong.items()
                    raise Failure(f"{file.path}: its {name} is {have[name]}, its source says {digest}: it was not kept; run again")
            entries.append({"path": file.path, "size": file.size, "sha256": have["sha256"]})
            unsure = "" if file.digests else " (its source says none to compare with)"
            say(f"{file.path}: {file.size} bytes, sha256 {have['sha256']}{unsure}")
    place.finish({"folder": place.folder, "source": source, "files": entries})
    total = sum(file.size for file in files)
    say(f"complete: {len(files)} files, {total / 2**30:.2f} GiB, of which {moved / 2**30:.2f} GiB came in {time.monotonic() - began:.0f} s")


def stored_in(environment):
    return BlobFolder(Container(environment["STORAGE"]), environment["FOLDER"])


def fetch(environment):
    source, place = environment["SOURCE"], stored_in(environment)
    there, done = place.wait_for_access(), place.manifest()
    if done and done["source"] == source and all(there.get(file["path"]) == file["size"] for file in done["files"]):
        say(f"complete already: {len(done['files'])} files from {source}; nothing to do")
        # Earlier sources, which this one was until now, are given their time anew.
        place.finish(done)
        return
    files = remote_files(source, environment.get("TOKEN", "").strip() or None)
    if not files:
        raise Failure(f"{source}: there are no files")
    if (ending := environment.get("ONLY_FORMAT")) and not any(file.path.endswith(f".{ending}") for file in files):
        kinds = ", ".join(sorted({file.path.rpartition(".")[2] for file in files}))
        raise Failure(f"{source}: it has no {ending} files, and the server loads no others ({kinds}): a repository with {ending}")
    if name := environment.get("FILE_NAME"):
        if len(files) != 1:
            raise Failure(f"{source}: one file is to become {name}, and there are {len(files)}: name it in model.source")
        files[0].path = name
    say(f"{len(files)} files, {sum(file.size for file in files) / 2**30:.2f} GiB, from {source} to {place}")
    transfer(files, there, place, source)


def keep(environment):
    # The first process of a container does not end by a signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    place = NodeFolder(environment["NODE_DISK"], environment["FOLDER"])
    place.clear()
    if place.manifest() is not None:
        say(f"complete already: {place}; nothing to do")
        place.renew()
    else:
        copy(stored_in(environment), place)
    stays, retention_s = environment.get("STAY", "true") == "true", environment.get("RETENTION_SECONDS")
    if retention_s and stays:
        time.sleep(max(0.0, float(retention_s) - place.age_s()))
    if retention_s:
        forget_earlier(place, float(retention_s))
    if stays:
        signal.pause()


def copy(stored, place):
    done = stored.manifest() if stored.wait_for_access() else None
    if done is None:
        raise Failure(f"{stored}: there is no {MANIFEST}: the fetch Job has not finished")
    files = [stored.remote(file["path"], file["size"], {"sha256": file["sha256"]}) for file in done["files"]]
    place.has_room(files)
    transfer(files, place.sizes(), place, done["source"])


def forget(environment):
    place = stored_in(environment)
    place.wait_for_access()
    if place.manifest() is None:
        raise Failure(f"{place}: there is no {MANIFEST}: nothing is deleted before the weights that are wanted are complete")
    forget_earlier(place, float(environment["RETENTION_SECONDS"]))


def forget_earlier(place, retention_s):
    """Deletes what other sources left, if both it and what replaced it are older: until then pods may read it, or be told to again."""
    for other in place.others():
        source, left_s = other.manifest()["source"], retention_s - min(place.age_s(), other.age_s())
        if left_s > 0:
            say(f"{other}: stays for {left_s / 86400:.1f} days more; {source}")
        else:
            other.delete()
            say(f"{other}: deleted; {source}")


def main(arguments):
    try:
        {"fetch": fetch, "keep": keep, "forget": forget}[arguments[0]](os.environ)
    except (Failure, Refused) as error:
        return failed(str(error))
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return failed("the disk is full: a size with a larger local disk")
        return failed(f"{type(error).__name__}: {error}")
    return 0


def failed(text):
    say(f"FAILED: {' '.join(text.split())}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
