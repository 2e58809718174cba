#!/bin/sh
# Make or update .venv with one extra of this checkout; the Makefile calls it.
#
#   tools/setup_env.sh core|test|e2e|bench
#
# PYTHON picks the interpreter. With uv (found, or installed into .venv) it takes seconds; without, pip does it.
set -eu
cd "$(dirname "$0")/.."

extra=${1:?core, test, e2e or bench}
case $extra in core) package=. ;; *) package=".[$extra]" ;; esac

# One variable for both installers: pip separates its links by spaces, uv by commas.
if [ -z "${UV_FIND_LINKS:-}" ] && [ -n "${PIP_FIND_LINKS:-}" ]; then
    UV_FIND_LINKS=$(printf %s "$PIP_FIND_LINKS" | tr -s ' ' ',')
    export UV_FIND_LINKS
fi

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

refuse() {
    echo "routellm-batch needs Python 3.11 or newer; $1 is ${2:-not to be found}." >&2
    echo "Name another: make PYTHON=/path/to/python3.12 …" >&2
    exit 1
}

pick_python() {
    if [ -n "${PYTHON:-}" ]; then
        recent "$PYTHON" || refuse "$PYTHON" "$(version "$PYTHON")"
        python=$PYTHON
        return
    fi
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        if recent "$python"; then return; fi
    done
    refuse python3 "$(version python3)"
}

make_venv() {
    pick_python
    if "$python" -m venv --clear .venv; then return; fi
    # Debian ships a python3 without ensurepip; uv needs none.
    command -v uv >/dev/null 2>&1 || exit 1
    uv venv --seed --clear --python "$python" .venv
}

find_uv() {
    if command -v uv >/dev/null 2>&1; then
        uv=uv
    elif [ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet -c constraints.txt uv; then
        uv=.venv/bin/uv
    else
        uv=
    fi
}

echo "Setting up .venv ($extra) …"
recent .venv/bin/python || make_venv
find_uv
if [ -n "$uv" ]; then
    "$uv" pip install --quiet --python .venv/bin/python -c constraints.txt -e "$package"
else
    .venv/bin/python -m pip install --quiet -c constraints.txt -e "$package"
fi
# What holds much holds less too, so a smaller set-up is not done again.
case $extra in
bench) made="core test e2e bench" ;;
e2e) made="core test e2e" ;;
test) made="core test" ;;
core) made="core" ;;
esac
for name in $made; do : >".venv/.made-$name"; done
