# One line per fact, fields separated by tabs. Changes nothing.

clean() {
  printf '%s' "$1" | tr -c '[:print:]' ' ' | cut -c 1-200
}

survey_begin() {
  printf 'survey\t1\n'
  printf 'now\t%s\n' "$(date +%s.%N)"
  printf 'hostname\t%s\n' "$(clean "$(uname -n)")"
  printf 'kernel\t%s\n' "$(clean "$(uname -r)")"
  # shellcheck disable=SC1091 # of the machine this runs on
  printf 'os\t%s\n' "$(clean "$(. /etc/os-release 2>/dev/null; printf '%s' "${PRETTY_NAME:-unknown}")")"
  if [ -d /run/systemd/system ]; then printf 'systemd\tyes\n'; else printf 'systemd\tno\n'; fi
}

# file PATH SUM show|hide: the content follows where it may be seen and is not the wanted one.
file() {
  if [ -L "$1" ]; then
    printf 'file\t%s\tlink\n' "$1"
  elif [ -f "$1" ]; then
    sum=$(sha256sum <"$1") || fail "cannot read $1"
    sum=${sum%% *}
    meta=$(stat -c '%a %U %G %s' "$1") || fail "cannot look at $1"
    text=-
    if [ "$3" = show ] && [ "$sum" != "$2" ] && [ "${meta##* }" -le 65536 ]; then
      text=$(base64 -w 0 <"$1") || fail "cannot read $1"
    fi
    # shellcheck disable=SC2086 # four fields
    set -- "$1" $meta
    printf 'file\t%s\tregular\t%s\t%s\t%s\t%s\t%s\n' "$1" "$sum" "$2" "$3" "$4" "$text"
  elif [ -e "$1" ]; then
    printf 'file\t%s\tother\n' "$1"
  else
    printf 'file\t%s\tabsent\n' "$1"
  fi
}

# program NAME [ARGUMENT]: with an argument, what it prints first when called with it.
program() {
  if command -v "$1" >/dev/null 2>&1; then
    version=-
    [ $# -lt 2 ] || version=$(clean "$(timeout 10 "$1" "$2" 2>/dev/null | head -n 1)")
    printf 'program\t%s\tpresent\t%s\n' "$1" "$version"
  else
    printf 'program\t%s\tmissing\n' "$1"
  fi
}

owner() {
  if id -u "$1" >/dev/null 2>&1 && getent group "$2" >/dev/null 2>&1; then
    printf 'owner\t%s\t%s\tpresent\n' "$1" "$2"
  else
    printf 'owner\t%s\t%s\tmissing\n' "$1" "$2"
  fi
}

units() {
  for unit in "$@"; do
    load='' active='' enabled=''
    while IFS='=' read -r property value; do
      case $property in
      LoadState) load=$value ;;
      ActiveState) active=$value ;;
      UnitFileState) enabled=$value ;;
      esac
    done <<properties
$(systemctl show --property=LoadState,ActiveState,UnitFileState "$unit" 2>/dev/null)
properties
    printf 'unit\t%s\t%s\t%s\t%s\n' "$unit" "$load" "$active" "$enabled"
  done
}

address() {
  if ! command -v ip >/dev/null 2>&1; then
    printf 'address\t%s\tunknown\n' "$1"
  elif [ -n "$(ip -o address show to "$1" 2>/dev/null)" ]; then
    printf 'address\t%s\tpresent\n' "$1"
  else
    printf 'address\t%s\tabsent\n' "$1"
  fi
}

# Free KiB where files are written; a directory that does not exist yet counts as its parent.
space() {
  where=$1
  while [ ! -d "$where" ]; do where=${where%/*}; done
  free=$(df -Pk "${where:-/}" | sed -n '2p' | tr -s ' ' | cut -d ' ' -f 4)
  printf 'space\t%s\t%s\n' "$1" "$free"
}

cluster() {
  if ! runs corosync; then
    printf 'corosync\tstopped\n'
  elif name=$(timeout 10 corosync-cmapctl -g totem.cluster_name 2>/dev/null); then
    printf 'corosync\trunning\t%s\n' "$(clean "${name#*= }")"
    timeout 10 corosync-cmapctl -b nodelist.node 2>/dev/null |
      sed -n -e 's/^nodelist\.node\.\([0-9]*\)\.name (str) = \([A-Za-z0-9._-]*\)$/member\t\1\t\2/p' \
        -e 's/^nodelist\.node\.\([0-9]*\)\.nodeid (u32) = \([0-9]*\)$/nodeid\t\1\t\2/p'
    timeout 10 corosync-cmapctl -b runtime.members 2>/dev/null |
      sed -n 's/^runtime\.members\.\([0-9]*\)\.status (str) = joined$/joined\t\1/p'
  elif timeout 10 corosync-cmapctl -g totem.version >/dev/null 2>&1; then
    printf 'corosync\trunning\t\n'
  else
    printf 'corosync\tsilent\n'
  fi
  if [ -e /var/lib/pacemaker/cib/cib.xml.sig ]; then
    printf 'saved-cib\t%s\n' "$(grep -c '<primitive' /var/lib/pacemaker/cib/cib.xml)"
  fi
  if ! runs pacemakerd; then
    printf 'pacemaker\tstopped\n'
  else
    printf 'pacemaker\trunning\n'
    live_cib
  fi
}

# The running configuration and its version, where Pacemaker answers.
live_cib() {
  head=$(timeout 20 cibadmin --query --no-children 2>/dev/null) || return 0
  body=$(timeout 20 cibadmin --query --scope configuration 2>/dev/null) || return 0
  printf 'cib\t%s\t%s\n' "$(cib_version "$head")" "$(printf '%s\n' "$body" | base64 -w 0)"
}

cib_version() {
  admin=$(printf '%s\n' "$1" | sed -n '1s/.* admin_epoch="\([0-9]*\)".*/\1/p')
  epoch=$(printf '%s\n' "$1" | sed -n '1s/.* epoch="\([0-9]*\)".*/\1/p')
  printf '%s.%s' "${admin:-0}" "${epoch:-0}"
}

# What earlier applies have left.
journals() {
  for state in "$base"/*/state; do
    [ -e "$state" ] || continue
    id=${state%/state}
    printf 'journal\t%s\t%s\n' "${id##*/}" "$(head -n 1 "$state")"
  done
  if [ -e "$base/pending" ]; then
    sed 's/^/pending\t/' "$base/pending"
  fi
  if [ -e "$base/applied" ]; then
    sed -n 's/^\([a-z]*\) \([A-Za-z0-9._:@+-]*\)$/applied\t\1\t\2/p' "$base/applied"
  fi
}

survey_end() {
  printf 'end\n'
}
