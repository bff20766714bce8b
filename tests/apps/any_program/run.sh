exec python show.py "$@"
