#!/usr/bin/env bash
# get-python.sh FOLDER VERSION...: newer Pythons than a Debian system has, beside it: FOLDER/usr/bin/pythonVERSION.
# They are Debian's unstable packages, with the C library and the OpenSSL that these need; nothing of the system
# changes. Needs patchelf, but not root.
set -euo pipefail
for program in apt-get dpkg-deb patchelf; do
    command -v $program > /dev/null || { echo "get-python.sh needs $program" >&2; exit 1; }
done

root=$(realpath -m "$1")
versions=("${@:2}")
apt=$root/.apt
mkdir -p "$apt"/{state/lists,cache/archives}/partial
trap 'rm -rf "$apt"' EXIT

# An apt of its own, from the system's mirror. It believes nothing to be installed, and so fetches all that is needed.
touch "$apt/status"
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" > "$apt/sources.list"
cat > "$apt/apt.conf" <<END
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$apt/state";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
APT::Update::Post-Invoke-Success "";
END
export APT_CONFIG=$apt/apt.conf
packages=("${versions[@]/#/python}")
apt-get -qq update
apt-get -qq install --yes --download-only "${packages[@]/%/-venv}"
for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$root"
done

for version in "${versions[@]}"; do
    python=$root/usr/bin/python$version
    library=$root/usr/lib/python$version
    patchelf --set-interpreter "$root/usr$(patchelf --print-interpreter "$python")" \
        --force-rpath --set-rpath "$(dirname "$(find "$root/usr/lib" -name libc.so.6)")" "$python"
    # ensurepip finds pip in FOLDER; pip does not refuse because Debian manages the packages
    sed -i "s|'WHEEL_PKG_DIR': '|&$root|" "$library"/_sysconfigdata_*.py
    rm -f "$library/EXTERNALLY-MANAGED"
    "$python" -c 'import ensurepip, ssl, sys, venv; print("Python", sys.version, ssl.OPENSSL_VERSION)'
done
