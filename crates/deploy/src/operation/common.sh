# Begins every script. The calls that follow are generated; their arguments are quoted.
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 077
exec </dev/null
base=/var/lib/picket/apply
tab=$(printf '\t')

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Sets the journal of an apply by its id. Here-documents of some shells become files for a moment:
# they belong where only root looks.
journal() {
  mkdir -p "$base" || fail "cannot make $base"
  chmod 0700 "$base" || fail "cannot protect $base"
  dir=$base/$1
  TMPDIR=$base
  export TMPDIR
}

# Replaces a small file of the journal in one step; what could not be written whole replaces nothing.
# At the end of a pipe this runs in a shell of its own, so the caller must heed how it ends.
note() {
  cat >"$1.tmp" || fail "cannot write $1"
  sync "$1.tmp" 2>/dev/null
  mv -fT "$1.tmp" "$1" || fail "cannot write $1"
}

# Takes effects that have come about off the list of those that are due.
settle() {
  [ -e "$base/pending" ] || return 0
  for effect in "$@"; do
    # 1: no line is left.
    grep -vxF -e "$effect" "$base/pending" >"$base/pending.tmp" || [ $? = 1 ] ||
      fail "cannot write $base/pending"
    mv -fT "$base/pending.tmp" "$base/pending" || fail "cannot write $base/pending"
  done
}

# Whether a process of that name runs, by the kernel's list: no package is needed for it.
runs() {
  for comm in /proc/[0-9]*/comm; do
    { IFS= read -r name <"$comm"; } 2>/dev/null || continue
    [ "$name" = "$1" ] && return 0
  done
  return 1
}
