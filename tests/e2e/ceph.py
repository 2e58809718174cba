"""A real S3 store on loopback: one Ceph monitor, one in-memory object server, one object gateway."""

from __future__ import annotations

import os
import subprocess
import uuid
from contextlib import ExitStack
from pathlib import Path

from e2e.processes import free_port, http_status, running, wait_until

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph-authtool", "ceph")
ACCESS_KEY, SECRET_KEY = "test", "testtest"
BYTES = 1 << 30

CONFIG = """
[global]
fsid = {fsid}
mon_host = [v1:127.0.0.1:{mon_port}/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_allow_pool_size_one = true
mon_data_avail_warn = 1
mon_data_avail_crit = 1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_class_update_on_start = false
osd_objectstore = memstore
memstore_device_bytes = {size}
run_dir = {folder}
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
log_file = {folder}/$name.log
pid_file = {folder}/$name.pid
admin_socket = {folder}/$name.asok
rgw_frontends = beast endpoint=127.0.0.1:{rgw_port} tcp_nodelay=1
rgw_dns_name = 127.0.0.1
rgw_enable_apis = s3, admin
rgw_run_sync_thread = false
"""


def start_gateway(folder: Path, stack: ExitStack) -> str:
    """Start the three daemons with all their state in ``folder``; return the base URL of the store.

    ``folder`` must have a short path: sockets lie in it. The daemons stop, last first, as the stack closes.
    """
    fsid, mon_port, rgw_port = str(uuid.uuid4()), free_port(), free_port()
    conf = folder / "ceph.conf"
    conf.write_text(CONFIG.format(fsid=fsid, mon_port=mon_port, rgw_port=rgw_port, folder=folder, size=BYTES))
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    env = {**os.environ, "CEPH_CONF": str(conf)}

    def tool(*command: str | Path, check: bool = True) -> str:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert not (check and done.returncode), f"{command[0]}: {done.stderr}"
        return done.stdout

    def daemon(*command: str) -> subprocess.Popen[bytes]:
        return stack.enter_context(running([*command, "--foreground"], folder / f"{command[0]}.out", env))

    monmap, keyring = folder / "monmap", folder / "keyring"
    tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon_port}]", monmap)
    tool("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    mon = daemon("ceph-mon", "-i", "a")
    quorum = ("ceph", "--connect-timeout", "5", "quorum_status")
    wait_until(lambda: '"quorum_names":["a"]' in tool(*quorum, check=False), "ceph-mon", mon, 60)

    osd_id = str(uuid.uuid4())
    tool("ceph", "osd", "new", osd_id)
    tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
    # Left to itself the daemon does this as it starts, and now and then before it knows the cluster: then it ends.
    tool("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", "host=here")
    osd = daemon("ceph-osd", "-i", "0")
    wait_until(lambda: "1 up" in tool("ceph", "osd", "stat", check=False), "ceph-osd", osd, 60)

    url = f"http://127.0.0.1:{rgw_port}"
    rgw = daemon("radosgw", "-n", "client.rgw")
    wait_until(lambda: http_status(url) == 200, "radosgw", rgw, 90)
    user = ("--uid", "e2e", "--display-name", "e2e", "--access-key", ACCESS_KEY, "--secret", SECRET_KEY)
    tool("radosgw-admin", "user", "create", *user)
    return url
