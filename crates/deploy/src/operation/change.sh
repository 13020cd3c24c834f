# Staging, installing and putting back. Every file is replaced by a rename, so that nobody ever sees
# half of one; what was there before is kept until the apply has ended.

# stage_begin ID
stage_begin() {
  journal "$1"
  rm -rf "$dir"
  mkdir "$dir" "$dir/new" "$dir/old" || fail "cannot make $dir"
  : >"$dir/manifest"
}

# put NUMBER MODE USER GROUP SUM PATH, with the content in base64 on standard input
put() {
  base64 -d >"$dir/new/$1" || fail "cannot write $dir/new/$1"
  sum=$(sha256sum <"$dir/new/$1")
  [ "${sum%% *}" = "$5" ] || fail "the copy of $6 is damaged"
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$@" >>"$dir/manifest" || fail "cannot write $dir/manifest"
}

stage_end() {
  echo staged | note "$dir/state" || exit 1
}

state_is() {
  IFS= read -r state <"$dir/state" && [ "$state" = "$1" ]
}

# install ID EFFECT...: the effects are noted first, so that they come about even if this apply does not
# live to see it.
install_files() {
  journal "$1"
  shift
  state_is staged || fail "nothing is staged in $dir"
  keep_old
  lay_beside
  { cat "$base/pending" 2>/dev/null; for effect in "$@"; do printf '%s\n' "$effect"; done; } |
    sort -u | note "$base/pending" || exit 1
  echo installing | note "$dir/state" || exit 1
  while IFS=$tab read -r n _ _ _ _ path; do
    if ! mv -fT "${path%/*}/.picket-$n" "$path"; then
      put_back
      fail "cannot replace $path; the former files are back"
    fi
  done <"$dir/manifest"
  relabel
  echo installed | note "$dir/state" || exit 1
}

keep_old() {
  while IFS=$tab read -r n _ _ _ _ path; do
    rm -f "$dir/old/$n" "$dir/old/$n.absent"
    if [ -e "$path" ]; then
      cp -p "$path" "$dir/old/$n" || fail "cannot keep a copy of $path"
    else
      : >"$dir/old/$n.absent"
    fi
  done <"$dir/manifest"
  if [ -e "$base/pending" ]; then
    cp "$base/pending" "$dir/old/pending" || fail "cannot keep a copy of $base/pending"
  fi
}

# Everything that can fail for want of space or rights fails here, before the first file is replaced.
lay_beside() {
  while IFS=$tab read -r n mode user group _ path; do
    parent=${path%/*}
    (umask 022 && mkdir -p "$parent") || fail "cannot make $parent"
    copy=$parent/.picket-$n
    if ! { rm -f "$copy" && cp "$dir/new/$n" "$copy" && chown "$user:$group" "$copy" &&
      chmod "$mode" "$copy" && sync "$copy"; }; then
      clear_beside
      fail "cannot write beside $path"
    fi
  done <"$dir/manifest"
}

clear_beside() {
  while IFS=$tab read -r n _ _ _ _ path; do
    rm -f "${path%/*}/.picket-$n"
  done <"$dir/manifest"
}

relabel() {
  command -v restorecon >/dev/null 2>&1 || return 0
  while IFS=$tab read -r _ _ _ _ _ path; do
    restorecon "$path" 2>/dev/null
  done <"$dir/manifest"
}

put_back() {
  while IFS=$tab read -r n _ _ _ _ path; do
    if [ -e "$dir/old/$n.absent" ]; then
      rm -f "$path" || fail "cannot remove $path"
    elif [ -e "$dir/old/$n" ]; then
      if ! { cp -p "$dir/old/$n" "${path%/*}/.picket-$n" && mv -fT "${path%/*}/.picket-$n" "$path"; }; then
        fail "cannot put $path back; its former content is $dir/old/$n"
      fi
    fi
  done <"$dir/manifest"
  clear_beside
  if [ -e "$dir/old/pending" ]; then
    cp "$dir/old/pending" "$base/pending"
  else
    rm -f "$base/pending"
  fi
  relabel
  echo rolled-back | note "$dir/state" || exit 1
}

# roll_back ID: puts the former files back, if any was replaced.
roll_back() {
  journal "$1"
  # Without a state not even the copies are complete: nothing can have been installed.
  if [ -e "$dir/state" ]; then
    if state_is staged; then
      clear_beside
    elif state_is installing || state_is installed; then
      put_back
    else
      state_is rolled-back || fail "$dir/state cannot be read; the former files, if any, are in $dir/old"
    fi
  fi
  rm -rf "$dir"
}

# check_corosync ID NUMBER [NUMBER]: the configuration and the key that belongs to it
check_corosync() {
  journal "$1"
  checked=$dir/new/$2
  if [ $# -gt 2 ]; then
    # Corosync 3 knows no other way to name another key than in the file itself.
    checked=$dir/corosync.conf
    sed "s|^totem {\$|&\n\tkeyfile: $dir/new/$3|" "$dir/new/$2" >"$checked"
  fi
  said=$(timeout 30 corosync -t -c "$checked" 2>&1) || fail "corosync -t: $said"
}

check_cib() {
  journal "$1"
  said=$(timeout 60 crm_verify --verbose --xml-file "$dir/new/$2" 2>&1) || fail "crm_verify: $said"
}

# judge_cib, with the configuration in base64 on standard input
judge_cib() {
  mkdir -p "$base" || fail "cannot make $base"
  chmod 0700 "$base" || fail "cannot protect $base"
  base64 -d >"$base/judged.xml" || fail "cannot write $base/judged.xml"
  said=$(timeout 60 crm_verify --verbose --xml-file "$base/judged.xml" 2>&1)
  status=$?
  rm -f "$base/judged.xml"
  [ $status = 0 ] || fail "crm_verify: $said"
}

# finish ID, with the record on standard input: the copies go, but for the former files.
finish() {
  journal "$1"
  note "$base/applied"
  rm -rf "$base/last"
  if [ -d "$dir" ]; then
    rm -rf "$dir/new" "$dir/manifest.tmp" "$dir/state"
    mv "$dir" "$base/last" || fail "cannot rename $dir"
  fi
  for left in "$base"/*/state; do
    [ -e "$left" ] || continue
    rm -rf "${left%/state}"
  done
  [ -s "$base/pending" ] || rm -f "$base/pending"
}
