/* PIDFILE SOCKET -- RUNTIME ARGUMENT...; returns the exit code. */
int run_exec_shim(char **argv);
