// A TCP line to the city that a test can hold: nothing passes and nothing breaks, as when a cable is pulled.
import { connect, createServer } from 'node:net';
import { once } from 'node:events';

export async function openLine(url) {
  const { hostname, port } = new URL(url);
  const pairs = new Set();
  const heads = [];
  let held = false;
  let connections = 0;
  const server = createServer((client) => {
    const city = connect(Number(port), hostname);
    const pair = [client, city];
    pairs.add(pair);
    connections += 1;
    client.on('data', (bytes) => {
      if (bytes.includes('GET ')) heads.push(bytes.toString('latin1'));
    });
    client.pipe(city);
    city.pipe(client);
    if (held) pair.forEach((socket) => socket.pause());
    for (const socket of pair) {
      socket.on('error', () => {});
      socket.on('close', () => {
        pair.forEach((each) => each.destroy());
        pairs.delete(pair);
      });
    }
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  return {
    url: `http://localhost:${server.address().port}`,
    /** The heads of requests that passed. */
    heads,
    /** How many connections were made. */
    get connections() {
      return connections;
    },
    hold() {
      held = true;
      for (const pair of pairs) pair.forEach((socket) => socket.pause());
    },
    release() {
      held = false;
      for (const pair of pairs) pair.forEach((socket) => socket.resume());
    },
    close() {
      for (const pair of pairs) pair.forEach((socket) => socket.destroy());
      server.close();
    },
  };
}
