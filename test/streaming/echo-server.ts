/** Run inside a pod's network: echoes its input. Arguments: host, port. Prints `ready` on its standard output. */
import { createServer } from 'node:net';

const [host, port] = process.argv.slice(2);
createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => {});
  socket.pipe(socket);
}).listen(Number(port), host, () => console.log('ready'));
