#!/usr/bin/env bash
# Installs the tools that only linting needs into .tools/, once for each change of their pins. They are large, so bin/just
# leaves them to the first `lint`.
set -euo pipefail
cd -- "$(dirname -- "$0")/../.."

say() { printf 'lint-tools: %s\n' "$*" >&2; }

# set NAME PINS TOOL…: into .tools/NAME, with a wrapper in .tools/bin for each tool, since a script installed by --target
# does not find its own modules.
install_set() {
  local name=$1 pins=$2
  shift 2
  cmp -s "$pins" ".tools/$name/pins.txt" && return
  say "installing $* ..."
  rm -rf ".tools/$name" ".tools/$name.new"
  if python3 -m pip --version >/dev/null 2>&1; then
    # It may complain about packages of the machine that are not used here, so its words count only when it fails.
    PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
      python3 -m pip install --quiet --target ".tools/$name.new" -r "$pins" 2>".tools/$name.log" || {
      cat ".tools/$name.log" >&2
      exit 1
    }
  elif command -v uv >/dev/null; then
    uv pip install --quiet --target ".tools/$name.new" -r "$pins"
  else
    say "pip is missing: install it (Debian: apt-get install python3-pip)"
    exit 1
  fi
  local tool
  mkdir -p .tools/bin
  for tool in "$@"; do
    if head -c 2 ".tools/$name.new/bin/$tool" | grep -q '^#!'; then
      cat >".tools/bin/$tool.new" <<SCRIPT
#!/bin/sh
root=\$(CDPATH='' cd -- "\$(dirname -- "\$0")/.." && pwd)
PYTHONPATH=\$root/$name PYTHONDONTWRITEBYTECODE=1 exec python3 "\$root/$name/bin/$tool" "\$@"
SCRIPT
      chmod +x ".tools/bin/$tool.new"
      mv -f ".tools/bin/$tool.new" ".tools/bin/$tool"
    else
      ln -sf "../$name/bin/$tool" ".tools/bin/$tool"
    fi
  done
  cp "$pins" ".tools/$name.new/pins.txt"
  mv ".tools/$name.new" ".tools/$name"
}

mkdir -p .tools
if command -v flock >/dev/null; then
  exec 9>.tools/lint.lock
  flock 9
fi
install_set manifest-tools k8s/checks/requirements.txt hadolint kubernetes-validate nca zizmor
install_set checkov-tools k8s/checks/requirements-checkov.txt checkov
