# Daemons and Pacemaker's configuration.

# order VERB UNIT...
order() {
  verb=$1
  shift
  for unit in "$@"; do
    said=$(systemctl "$verb" "$unit" 2>&1 >/dev/null) && continue
    printf '%s\n' "$said" >&2
    systemctl --no-pager --lines=8 status "$unit" 2>/dev/null | tail -n 9 >&2
    fail "systemctl $verb $unit failed"
  done
}

# Changed drop-ins count once systemd has read them. Where it does not run nobody else reads them.
reload_systemd() {
  [ -d /run/systemd/system ] || return 0
  said=$(systemctl daemon-reload 2>&1) || fail "systemctl daemon-reload: $said"
}

# The state of the one-node cluster that a package came with is put aside, not removed.
put_aside() {
  if [ -e /var/lib/pacemaker/cib/cib.xml ]; then
    aside=/var/lib/pacemaker/cib.$(date +%Y%m%d-%H%M%S)
    mv /var/lib/pacemaker/cib "$aside" || fail "cannot put /var/lib/pacemaker/cib aside"
    if ! { mkdir /var/lib/pacemaker/cib && chown hacluster:haclient /var/lib/pacemaker/cib &&
      chmod 0750 /var/lib/pacemaker/cib; }; then
      fail "cannot make /var/lib/pacemaker/cib"
    fi
  fi
}

reload_corosync() {
  said=$(timeout 30 corosync-cfgtool -R 2>&1) || fail "corosync-cfgtool -R: $said"
}

# in_force KEY VALUE...: waits until this node's Corosync has these settings, and has not those whose value
# is empty. Each node reads its own file, and the node that passes the word on does not hear of it.
in_force() {
  tries=60
  until differs=$(difference "$@"); do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail "the new configuration of Corosync is not in force: $differs"
    sleep 0.25
  done
}

# Prints the first setting that is another in the running Corosync.
difference() {
  timeout 10 corosync-cmapctl -g totem.version >/dev/null 2>&1 || {
    echo "it does not answer"
    return 1
  }
  while [ $# -gt 1 ]; do
    is=$(timeout 10 corosync-cmapctl -g "$1" 2>/dev/null) || is=
    is=${is#* = }
    if [ "$is" != "$2" ]; then
      echo "$1 is ${is:-not set}, and should be ${2:-absent}"
      return 1
    fi
    shift 2
  done
}

# configure VERSION, with the configuration in base64 on standard input. Refused if somebody else has
# changed the configuration since it had that version.
configure() {
  mkdir -p "$base"
  base64 -d >"$base/cib.new" || fail "cannot write $base/cib.new"
  head=$(timeout 20 cibadmin --query --no-children 2>&1) || fail "cibadmin --query: $head"
  is=$(cib_version "$head")
  if [ "$is" != "$1" ]; then
    rm -f "$base/cib.new"
    fail "Pacemaker's configuration was changed meanwhile (version $is, expected $1): run this again"
  fi
  said=$(timeout 60 cibadmin --replace --scope configuration --xml-pipe <"$base/cib.new" 2>&1)
  status=$?
  rm -f "$base/cib.new"
  [ $status = 0 ] || fail "cibadmin --replace: $said"
}

# Whatever it ends with: how the cluster is then is looked at.
wait_until_settled() {
  timeout 100 crm_resource --wait --timeout=90 >/dev/null 2>&1
  return 0
}

retry_failed() {
  said=$(timeout 30 crm_resource --cleanup 2>&1) || fail "crm_resource --cleanup: $said"
}

read_cib() {
  printf 'cib-of\t1\n'
  live_cib
  printf 'end\n'
}

health() {
  printf 'health\t1\n'
  if seen=$(timeout 20 crm_mon --one-shot --inactive --output-as=xml 2>/dev/null); then
    printf 'monitor\t%s\n' "$(printf '%s\n' "$seen" | base64 -w 0)"
  else
    printf 'monitor\t-\n'
  fi
  printf 'end\n'
}
