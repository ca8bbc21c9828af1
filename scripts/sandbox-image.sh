#!/usr/bin/env bash
# Builds the sandbox images out of Debian packages, without a registry: a root file system per language (used as it is by
# the bubblewrap sandbox) and, when a Docker daemon answers, an image `espalier-sandbox:LANGUAGE` imported from it.
# Quick when everything is up to date.
#
#   scripts/sandbox-image.sh [--no-docker] [python|cpp|javascript|go|java|rust]...      (default: python)
set -euo pipefail

# Root's cache is readable by the unprivileged user that a bubblewrap box runs as.
if [[ $EUID == 0 ]]; then default=/var/cache/espalier; else default=${XDG_CACHE_HOME:-$HOME/.cache}/espalier; fi
cache=${ESPALIER_CACHE:-$default}/sandbox
docker=1
languages=()
for argument in "$@"; do
  case $argument in
    --no-docker) docker=0 ;;
    --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
    python | cpp | javascript | go | java | rust) languages+=("$argument") ;;
    *) echo "sandbox-image.sh: unknown argument '$argument'; use [--no-docker] [python|cpp|javascript|go|java|rust]..." >&2 && exit 2 ;;
  esac
done
[[ ${#languages[@]} -gt 0 ]] || languages=(python)
for tool in apt-get dpkg-deb tar; do
  command -v $tool >/dev/null || { echo "sandbox-image.sh: $tool is missing; on this system build deploy/sandbox/Dockerfile instead" >&2 && exit 1; }
done

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
[[ $suite == bookworm ]] || { echo "sandbox-image.sh: the package lists are for Debian 12 (bookworm), not '$suite'; build deploy/sandbox/Dockerfile instead" >&2 && exit 1; }

# The runner in every box is Python; pytest serves AssertCase.
python=(python3-minimal python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1 zlib1g libexpat1
  libssl3 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libcrypt1 libtinfo6 libncursesw6 libreadline8 tzdata media-types
  python3-pytest python3-pluggy python3-iniconfig python3-packaging python3-attr)
cpp=(g++-12 gcc-12 cpp-12 gcc-12-base libgcc-12-dev libstdc++-12-dev libstdc++6 binutils binutils-x86-64-linux-gnu
  binutils-common libbinutils libctf0 libctf-nobfd0 libgprofng0 libjansson4 libzstd1 libisl23 libmpc3 libmpfr6 libgmp10
  libcc1-0 libgomp1 libitm1 libatomic1 libasan8 liblsan0 libtsan2 libubsan1 libquadmath0 libc6-dev libc-dev-bin
  linux-libc-dev libcrypt-dev libnsl-dev libtirpc-dev)
javascript=(nodejs node-acorn node-cjs-module-lexer node-undici node-busboy node-xtend libnode108 libstdc++6 libuv1 libbrotli1 libc-ares2 libnghttp2-14 libicu72 libzstd1)

go=(golang-1.19-go golang-1.19-src)
java=(openjdk-17-jre-headless openjdk-17-jdk-headless libstdc++6)
rust=(rustc libstd-rust-dev libstd-rust-1.63 libllvm14 libedit2 libbsd0 libmd0 libxml2 libicu72 libz3-4)

debian_versions() { # packages → package=version, the newest of this Debian release: not a third party's of the same name
  local package
  for package in "$@"; do
    apt-cache madison "$package" | awk -v suite=" $suite" -v package="$package" \
      'index($0, suite) { print package "=" $3; found = 1; exit } END { exit !found }' ||
      { echo "sandbox-image.sh: apt knows no package $package of $suite; run apt-get update" >&2 && return 1; }
  done
}

build() { # language → its root file system in $cache/LANGUAGE, stamped with the hash of its recipe
  local language=$1 packages recipe rootfs
  packages=("${python[@]}")
  case $language in
    cpp) packages+=("${cpp[@]}") ;;
    javascript) packages+=("${javascript[@]}") ;;
    go) packages+=("${go[@]}") ;;
    java) packages+=("${java[@]}") ;;
    rust) packages+=("${cpp[@]}" "${rust[@]}") ;; # its compiler calls the linker of the others
  esac
  recipe=$( (cat "$0" && echo "${packages[@]}" && dpkg --print-architecture) | sha256sum | cut -c1-16)
  rootfs=$cache/$language
  if [[ $(cat "$rootfs.recipe" 2>/dev/null) != "$recipe" ]]; then
    echo "Building the root file system of '$language' ($recipe)"
    mkdir -p "$cache/debs"
    work=$(mktemp -d "$cache/$language.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    for package in "${packages[@]}"; do
      compgen -G "$cache/debs/${package}_*.deb" >/dev/null || missing+=("$package")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
      # _apt may not enter a private home; root downloads without the unprivileged helper
      (cd "$cache/debs" && apt-get -o APT::Sandbox::User=root download $(debian_versions "${missing[@]}") >/dev/null)
    fi
    mkdir -p "$work"/{usr/bin,usr/sbin,usr/lib,usr/lib64}
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$work/$name"; done
    for package in "${packages[@]}"; do
      deb=$(compgen -G "$cache/debs/${package}_*.deb" | sort -V | tail -n 1)
      dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work" --keep-directory-symlink
    done
    ln -sf python3.11 "$work/usr/bin/python3"
    if [[ $language == cpp ]]; then ln -sf g++-12 "$work/usr/bin/g++"; fi
    rm -rf "$work"/usr/share/{doc,man,lintian,locale,bug,menu} "$work"/var "$work"/etc/{apt,cron*}
    mkdir -p "$work"/{etc,tmp,proc,sys,dev,run,root}
    printf 'root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/usr/sbin/nologin\n' >"$work/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$work/etc/group"
    find "$work" -xdev -type f -perm /6000 -exec chmod a-s {} +
    # Everything is read-only later, so byte code is compiled now.
    if [[ $language == java ]]; then
      for name in java javac; do ln -sf "$(cd "$work/usr/bin" && echo ../lib/jvm/java-17-openjdk-*/bin/$name)" "$work/usr/bin/$name"; done
    fi
    chroot "$work" /usr/bin/python3 -m compileall -q /usr/lib/python3.11 /usr/lib/python3 >/dev/null 2>&1 || true
    chmod 755 "$work"
    chmod 1777 "$work/tmp"
    rm -rf "$rootfs" "$rootfs.recipe"
    mv "$work" "$rootfs"
    trap - EXIT
    echo "$recipe" >"$rootfs.recipe"
  fi
  if [[ $docker == 1 ]] && docker version >/dev/null 2>&1; then
    local image=espalier-sandbox:$language
    if [[ $(docker image inspect --format '{{index .Config.Labels "espalier.recipe"}}' "$image" 2>/dev/null) != "$recipe" ]]; then
      echo "Importing $image"
      tar -C "$rootfs" --numeric-owner --owner=0 --group=0 -c . |
        docker import --change "LABEL espalier.recipe=$recipe" --change "USER 65534:65534" --change "WORKDIR /tmp" - "$image" >/dev/null
    fi
    echo "$image is up to date ($recipe)"
  fi
  echo "$rootfs is up to date ($recipe)"
}

mkdir -p "$cache"
exec 9>"$cache/lock" # two runs at a time would take each other's half-unpacked root file systems
flock 9
for language in "${languages[@]}"; do
  missing=()
  build "$language"
done
