"""Certificates for a test, made with openssl in the folders that Secrets would be mounted as."""

import os
import shutil
import subprocess


def openssl(*arguments, folder):
    program = shutil.which("openssl")
    assert program, "openssl is not on PATH: apt install openssl"
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder):
    """`ca.crt` and its key."""
    subject = ("-subj", "/CN=test authority", "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt", *subject, folder=folder)
    return folder


def signed(by, folder, serial):
    """`tls.crt` for 127.0.0.1 with that serial number, and `tls.key`."""
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    issuer = ("-CA", str(by / "ca.crt"), "-CAkey", str(by / "ca.key"), "-set_serial", str(serial))
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls.key", "-out", "tls.csr", *name, folder=folder)
    openssl("x509", "-req", "-in", "tls.csr", *issuer, "-days", "2", "-copy_extensions", "copy", "-out", "tls.crt", folder=folder)
    return folder


def mount(folder, name, made):
    """A folder as the kubelet mounts a Secret; a second time with the same name, as it renews one: a link is swapped for another."""
    mounted = folder / name
    mounted.mkdir(exist_ok=True)
    version = mounted / f"..{len(list(mounted.iterdir()))}"
    shutil.copytree(made, version)
    new = mounted / "..data_tmp"
    new.symlink_to(version.name)
    os.rename(new, mounted / "..data")
    for file in version.iterdir():
        link = mounted / file.name
        if not link.is_symlink():
            link.symlink_to(f"..data/{file.name}")
    return mounted
