# Becomes the program of the arguments once one line arrives on stdin: until then the test process has not told
# the guard of this pid. If the test process dies first, the line never comes and nothing is started.
# First argument: "piped" keeps stdin for the program, "closed" gives it none.
IFS= read -r go || exit 1
stdin=$1
shift
[ "$stdin" = piped ] || exec </dev/null
exec "$@"
