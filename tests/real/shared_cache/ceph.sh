#!/usr/bin/env bash
# A real S3 server on loopback: Ceph's monitor, one OSD in memory, and the RADOS gateway. As root; up in about 15 s.
# Usage: ceph.sh FOLDER PORT MONITOR_PORT; apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
set -euo pipefail
folder=$1 port=$2 monitor=$3
mkdir -p "$folder"/{mon,osd/ceph-0,rgw,run,log}
cd "$folder"
cat > ceph.conf <<CONF
[global]
fsid = $(python3 -c 'import uuid; print(uuid.uuid4())')
mon host = v2:127.0.0.1:$monitor/0
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $folder/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 1073741824
run dir = $folder/run
admin socket = $folder/run/\$cluster-\$name.asok
log file = $folder/log/\$name.log
pid file = $folder/run/\$name.pid
mon data avail crit = 1
mon data avail warn = 2
mon data = $folder/mon/ceph-\$id
osd data = $folder/osd/ceph-\$id
osd journal = $folder/osd/ceph-\$id/journal
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $folder/rgw
rgw enable usage log = false
rgw dns name = localhost
rgw run sync thread = false
CONF
export CEPH_CONF=$folder/ceph.conf
ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
ceph-authtool keyring --gen-key -n client.rgw --cap mon 'allow rwx' --cap osd 'allow rwx' --cap mgr 'allow rw'
ceph-authtool keyring --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
fsid=$(sed -n 's/^fsid = //p' ceph.conf)
monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor/0]" monmap
ceph-mon --mkfs -i a --monmap monmap --keyring keyring
ceph-mon -i a
osd=$(python3 -c 'import uuid; print(uuid.uuid4())')
ceph osd new "$osd"
ceph-osd -i 0 --mkfs --osd-uuid "$osd"
ceph osd crush add osd.0 1 root=default host=h0
ceph-osd -i 0
until ceph osd stat | grep -q ' 1 up'; do sleep 0.2; done
radosgw -n client.rgw --keyring keyring
for key in main other; do
  radosgw-admin user create --uid "$key" --display-name "$key" --access-key "AK$key" --secret-key "SK$key-secret" >/dev/null
done
