#!/usr/bin/env bash
# A SLURM cluster of several nodes on this one host, with accounting, for the tests beside. Root; Debian or Ubuntu.
#   slurm.sh install       packages that are not there yet
#   slurm.sh up DIR NODES  start, with all state, logs and spools below DIR
#   slurm.sh down DIR      stop what was started and remove DIR
set -euo pipefail

PACKAGES=(munge slurmctld slurmd slurm-client slurmdbd mariadb-server)
MARK="# made by emtools, tests/cluster/slurm.sh"
HOST=$(hostname -s)

wait_for() {  # SECONDS COMMAND…
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "slurm.sh: waited in vain for: $*; see the logs in $BASE/log" >&2; return 1; }
        sleep 0.3
    done
}

install_packages() {
    local missing=()
    for package in "${PACKAGES[@]}"; do
        dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

start_munge() {
    # The database daemon knows the default socket only, so a private one would do without accounting alone.
    munge --no-input 2>/dev/null | unmunge >/dev/null 2>&1 && return
    install -d -o munge -g munge -m 755 /run/munge
    install -d -o munge -g munge -m 700 "$BASE/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$BASE/munge/key")
    chown munge: "$BASE/munge/key"
    runuser -u munge -- munged --force --key-file "$BASE/munge/key" --pid-file "$BASE/munge/pid" \
        --seed-file "$BASE/munge/seed" --log-file "$BASE/munge/log"
}

start_database() {
    install -d -o mysql "$BASE/db"
    mariadb-install-db --user=mysql --datadir="$BASE/db/data" --auth-root-authentication-method=normal \
        --skip-test-db >"$BASE/log/install-db" 2>&1
    mariadbd --no-defaults --user=mysql --datadir="$BASE/db/data" --socket="$BASE/db/socket" --skip-networking \
        --pid-file="$BASE/db/pid" >"$BASE/log/mariadbd" 2>&1 </dev/null &
    wait_for 60 mariadb-admin --no-defaults --user=root --socket="$BASE/db/socket" ping
    mariadb --no-defaults --user=root --socket="$BASE/db/socket" --execute \
        "create user slurm@localhost identified by 'slurm'; grant all on slurm_acct_db.* to slurm@localhost"
}

write_settings() {  # NODES
    local cpus memory i
    cpus=$(($(nproc) / $1 > 0 ? $(nproc) / $1 : 1))
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
    cat >"$BASE/slurmdbd.conf" <<SETTINGS
$MARK
AuthType=auth/munge
DbdHost=$HOST
SlurmUser=root
PidFile=$BASE/run/slurmdbd.pid
LogFile=$BASE/log/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
SETTINGS
    chmod 600 "$BASE/slurmdbd.conf"
    cat >"$BASE/slurm.conf" <<SETTINGS
$MARK
ClusterName=emtools
SlurmctldHost=$HOST
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=$HOST
AccountingStoreFlags=job_comment
SlurmctldPidFile=$BASE/run/slurmctld.pid
SlurmctldLogFile=$BASE/log/slurmctld
StateSaveLocation=$BASE/state
SlurmdPidFile=$BASE/run/slurmd-%n.pid
SlurmdLogFile=$BASE/log/slurmd-%n
SlurmdSpoolDir=$BASE/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=2
MinJobAge=86400
ReturnToService=2
SETTINGS
    for i in $(seq "$1"); do
        echo "NodeName=node$i NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((17000 + i)) CPUs=$cpus RealMemory=$((memory / $1))"
    done >>"$BASE/slurm.conf"
    echo "PartitionName=all Nodes=ALL Default=YES MaxTime=60 DefMemPerCPU=500" >>"$BASE/slurm.conf"
    # Steps of a job lose SLURM_CONF, so the file must stand where every program looks.
    mkdir -p /etc/slurm
    for file in slurm.conf slurmdbd.conf; do
        [ ! -e "/etc/slurm/$file" ] || grep -qF "$MARK" "/etc/slurm/$file" || {
            echo "slurm.sh: /etc/slurm/$file is of another cluster; this is for a machine without one" >&2
            exit 1
        }
        ln -sf "$BASE/$file" "/etc/slurm/$file"
    done
    grep -qw "$HOST" /etc/hosts || echo "127.0.1.1 $HOST" >>/etc/hosts
}

idle() { [ "$(sinfo --noheader --format %t | sort -u)" = idle ]; }

up() {  # NODES
    mkdir -p "$BASE"/{run,log,state}
    start_munge
    start_database
    write_settings "$1"
    MYSQL_UNIX_PORT="$BASE/db/socket" slurmdbd
    wait_for 60 sacctmgr --noheader show cluster
    sacctmgr --immediate add cluster emtools >/dev/null 2>&1 || true
    sacctmgr --immediate add account lab >/dev/null
    sacctmgr --immediate add user root account=lab >/dev/null
    slurmctld
    for i in $(seq "$1"); do slurmd -N "node$i"; done
    wait_for 60 idle
}

down() {
    local file pid
    for file in "$BASE"/run/slurmd-*.pid "$BASE"/run/{slurmctld,slurmdbd}.pid "$BASE"/{db,munge}/pid; do
        [ -s "$file" ] || continue
        pid=$(<"$file")
        kill "$pid" 2>/dev/null || true
        wait_for 30 eval "! kill -0 $pid" || kill -KILL "$pid"
    done
    for file in /etc/slurm/slurm.conf /etc/slurm/slurmdbd.conf; do
        [ -L "$file" ] && [ "$(readlink "$file")" = "$BASE/${file##*/}" ] && rm "$file"
    done
    rm -rf "$BASE"
}

case ${1:-} in
    install) install_packages ;;
    up) BASE=$(realpath -m "$2") && up "${3:-1}" ;;
    down) BASE=$(realpath -m "$2") && down ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
