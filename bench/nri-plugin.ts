/**
 * A process of its own that is a plugin of NRI: it gets all events and asks for nothing. `node bench/nri-plugin.ts SOCKET`, started
 * with a channel: `synchronized` goes out when it is, and each message that comes is answered with how many containers it has
 * seen start.
 */
import { TestPlugin } from '../test/nri/plugin.ts';

const plugin = await TestPlugin.start(process.argv[2] ?? '', { index: '10', name: 'bench' });
process.on('message', () => process.send?.(plugin.of('StartContainer').length));
process.on('disconnect', () => process.exit(0));
process.send?.('synchronized');
await plugin.closed;
process.exit(1);
