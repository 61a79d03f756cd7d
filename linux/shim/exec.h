/* PIDFILE SOCKET -- RUNTIME ARGUMENT...; returns the exit code. */
int attend(char **argv);
