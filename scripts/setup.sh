#!/usr/bin/env bash
# Sets up what the Makefile needs: `setup.sh python [dev]`, `setup.sh node`, `setup.sh browser`.
# A step that cannot be done is named with how to do it, and the script exits non-zero.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup: $*" >&2; }
stop() { say "$1"; shift; for line in "$@"; do printf '       %s\n' "$line" >&2; done; exit 1; }

distribution() { (. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}") || true; }

# Installs Debian packages where this user may; otherwise names the command and exits. Returns 1 where there is no apt.
apt_install() {
  command -v apt-get >/dev/null || return 1
  local as=()
  if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then as=(sudo -n); else
      stop "these packages are missing: $*" "install them with: sudo apt-get install $*" "then run make again"
    fi
  fi
  say "installing $* (apt-get)"
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 &&
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
    stop "apt-get could not install: $*" "see its messages above; install them by hand, then run make again"
}

find_python() {
  local name
  for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$name"; return
    fi
  done
  stop "no Python 3.11 or later found" "install one (Debian 12: sudo apt-get install python3 python3-venv)" \
    "or name it: make PYTHON=/path/to/python3.12 ..."
}

make_venv() {
  local python venv_package
  python=$(find_python)
  # Debian splits ensurepip off: without it the venv module leaves a broken folder behind.
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    venv_package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    apt_install "$venv_package" || stop "$python has no venv module with pip" "install it, or name another Python: make PYTHON=..."
  fi
  say "making .venv with $("$python" --version)"
  "$python" -m venv .venv || { rm -rf .venv; stop "$python -m venv failed, see above"; }
}

setup_python() {
  local extra=${1:+[$1]}
  [ -x .venv/bin/python ] || make_venv
  .venv/bin/python -c 'import pip' 2>/dev/null || { rm -rf .venv; make_venv; }
  say "installing splatlens$extra and its dependencies (pip)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extra" ||
    stop "pip could not install the dependencies, see above" "check the network or set PIP_INDEX_URL, then run make again"
  # The repository root is the package, so mypy needs a folder in which it is called by its name.
  mkdir -p .venv/typing && ln -sfn ../.. .venv/typing/splatlens
}

# The two files of onnxruntime-web that pages load to run generators, of the version that package.json names. The second
# is kept as it is sent: packing its 27 MB takes seconds, which the server has not.
vendor_runtime() {
  local from=node_modules/onnxruntime-web/dist to=static/vendor/onnxruntime
  local script=ort.webgpu.bundle.min.mjs wasm=ort-wasm-simd-threaded.asyncify.wasm
  [ -f "$from/$script" ] && [ -f "$from/$wasm" ] || stop "onnxruntime-web has no $script and $wasm" "remove node_modules, then run make again"
  cmp -s "$from/$script" "$to/$script" && gzip -dc "$to/$wasm.gz" 2>/dev/null | cmp -s - "$from/$wasm" && return
  say "copying onnxruntime-web to $to"
  cp "$from/$script" "$to/$script"
  gzip -9nc "$from/$wasm" >"$to/$wasm.gz.part" && mv "$to/$wasm.gz.part" "$to/$wasm.gz"
}

setup_node() {
  command -v node >/dev/null && command -v npm >/dev/null || {
    [ "$(distribution)" = debian ] && apt_install nodejs npm
  } || stop "node and npm are missing" "install Node.js 18 or later: https://nodejs.org"
  node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' ||
    stop "node $(node --version) is too old" "install Node.js 18 or later: https://nodejs.org"
  say "installing the type checker and onnxruntime-web (npm ci)"
  # Without install scripts: none of these packages needs one.
  npm ci --silent --ignore-scripts --no-fund --no-audit ||
    stop "npm ci failed, see above" "check the network or the npm registry, then run make again"
  vendor_runtime
}

# An OpenGL adapter draws too, but what Chromium's packages bring along of Mesa is that and not Vulkan: the tests want the latter.
adapter() {
  .venv/bin/python -c 'import sys, wgpu; sys.exit(wgpu.gpu.request_adapter_sync().info["backend_type"] == "OpenGL")' 2>/dev/null
}

setup_browser() {
  if ! scripts/chromium.sh >/dev/null; then
    # Ubuntu's chromium package is a snap, which does not run headless in containers.
    if [ -z "${CHROMIUM:-}" ] && [ "$(distribution)" = debian ]; then apt_install chromium fonts-dejavu-core || true; fi
    scripts/chromium.sh >/dev/null ||
      stop "no Chromium or Chrome found; the page's tests need one" \
        "install Google Chrome (https://www.google.com/chrome) or Chromium," \
        "or name it: make test CHROMIUM=/path/to/chrome"
  fi
  if ! adapter; then
    apt_install mesa-vulkan-drivers libvulkan1 || true
    adapter || stop "wgpu finds no Vulkan, Metal or D3D12 adapter; the shaders' tests need one, a software one is enough" \
      "on Linux install Mesa's Vulkan drivers (Debian, Ubuntu: mesa-vulkan-drivers libvulkan1; Fedora: mesa-vulkan-drivers vulkan-loader)"
  fi
}

case ${1:-} in
  python) setup_python "${2:-}" ;;
  node) setup_node ;;
  browser) setup_browser ;;
  *) stop "usage: scripts/setup.sh python [dev] | node | browser" ;;
esac
