/**
 * The same transfers over `node:net` and `node:dgram`: Node's own over the kernel's loopback, or this stack's adapters,
 * which have the same interface, so that one program measures both.
 */

import type { Sample } from "./stack.ts";
import { pattern, Verifier } from "./stack.ts";

/** What the transfers use of a `net.Socket`. */
export interface StreamSocket {
  write(chunk: Uint8Array): boolean;
  end(): unknown;
  destroy(): unknown;
  setNoDelay(on: boolean): unknown;
  on(event: string, fn: (chunk: Uint8Array) => void): unknown;
  once(event: string, fn: (error?: Error) => void): unknown;
}

export interface StreamServer {
  listen(port: number, fn: () => void): unknown;
  close(fn?: () => void): unknown;
  address(): unknown;
}

export interface StreamNet {
  createServer(fn: (socket: StreamSocket) => void): StreamServer;
  connect(port: number, host: string): StreamSocket;
}

/** Where to listen, where to connect, by which address. */
export interface StreamEnds {
  readonly server: StreamNet;
  readonly client: StreamNet;
  readonly address: string;
}

const CHUNK = 64 * 1024;
const PATTERN = pattern(CHUNK, 7);

function listening(ends: StreamEnds, onSocket: (socket: StreamSocket) => void): Promise<[StreamServer, number]> {
  return new Promise((resolve) => {
    const server = ends.server.createServer(onSocket);
    server.listen(0, () => resolve([server, (server.address() as { port: number }).port]));
  });
}

function closed(server: StreamServer): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()));
}

/** `bytes` from a client to a server, 64 KiB a write, waiting for "drain". */
export async function streamBulk(ends: StreamEnds, bytes: number): Promise<Sample> {
  const verifier = new Verifier(PATTERN);
  let fail: (error: Error) => void = () => {};
  let finish: () => void = () => {};
  const done = new Promise<void>((resolve, reject) => {
    finish = resolve;
    fail = reject;
  });
  const [server, port] = await listening(ends, (socket) => {
    socket.on("data", (chunk) => {
      try {
        verifier.check(chunk, chunk.length);
      } catch (error) {
        fail(error as Error);
      }
      if (verifier.position >= bytes) finish();
    });
    socket.once("error", (error) => fail(error as Error));
  });
  const chunk = PATTERN.subarray(0, CHUNK);
  const client = ends.client.connect(port, ends.address);
  client.once("error", (error) => fail(error as Error));
  await new Promise<void>((resolve) => void client.once("connect", () => resolve()));
  const started = performance.now();
  let left = bytes;
  const pump = (): void => {
    while (left > 0) {
      const part = left >= CHUNK ? chunk : chunk.subarray(0, left);
      left -= part.length;
      if (!client.write(part)) {
        client.once("drain", pump);
        return;
      }
    }
  };
  pump();
  await done;
  const ms = performance.now() - started - verifier.ms;
  client.destroy();
  await closed(server);
  return { ms, amount: bytes };
}

/** `count` times one byte there and back. */
export async function streamPingPong(ends: StreamEnds, count: number): Promise<Sample> {
  const [server, port] = await listening(ends, (socket) => {
    socket.setNoDelay(true);
    socket.on("data", (chunk) => void socket.write(chunk));
  });
  const client = ends.client.connect(port, ends.address);
  await new Promise<void>((resolve, reject) => {
    client.once("connect", () => resolve());
    client.once("error", (error) => reject(error as Error));
  });
  client.setNoDelay(true);
  const one = new Uint8Array(1);
  let i = 0;
  const started = performance.now();
  await new Promise<void>((resolve, reject) => {
    client.on("data", (chunk) => {
      if (chunk.length !== 1 || chunk[0] !== (i & 255)) reject(new Error("the byte that came back is another"));
      if (++i === count) resolve();
      else {
        one[0] = i;
        client.write(one);
      }
    });
    client.write(one);
  });
  const ms = performance.now() - started;
  client.destroy();
  await closed(server);
  return { ms, amount: count };
}

/** `count` times: connect, a byte each way, close. */
export async function streamConnections(ends: StreamEnds, count: number): Promise<Sample> {
  const [server, port] = await listening(ends, (socket) => {
    socket.on("data", (chunk) => {
      socket.write(chunk);
      // The server closes first, so that the client's port does not wait in TIME_WAIT.
      socket.end();
    });
    socket.once("error", () => {});
  });
  const started = performance.now();
  for (let i = 0; i < count; i++) {
    const client = ends.client.connect(port, ends.address);
    await new Promise<void>((resolve, reject) => {
      let got = -1;
      client.once("connect", () => void client.write(Uint8Array.of(i)));
      client.on("data", (chunk) => {
        got = chunk[0];
      });
      client.once("end", () => void client.end());
      client.once("close", () => {
        if (got === (i & 255)) resolve();
        else reject(new Error("the byte that came back is another"));
      });
      client.once("error", (error) => reject(error as Error));
    });
  }
  const ms = performance.now() - started;
  await closed(server);
  return { ms, amount: count };
}

/** What the transfers use of a `dgram.Socket`. */
export interface DatagramSocket {
  bind(port: number, address: string, fn: () => void): unknown;
  send(message: Uint8Array, port: number, address: string): void;
  on(event: string, fn: (message: Uint8Array) => void): unknown;
  address(): { port: number };
  close(fn?: () => void): unknown;
}

/** `count` datagrams of `size` bytes, `burst` under way at a time. */
export async function streamDatagrams(
  open: () => [tx: DatagramSocket, rx: DatagramSocket],
  address: string,
  count: number,
  size = 64,
  burst = 32,
): Promise<Sample> {
  const [tx, rx] = open();
  await new Promise<void>((resolve) => void rx.bind(0, address, resolve));
  const { port } = rx.address();
  const messages = Array.from({ length: burst }, (_, i) => PATTERN.slice(i, i + size));
  let received = 0;
  let wanted = 0;
  let wake: () => void = () => {};
  rx.on("message", (message) => {
    if (message.length !== size) throw new Error("a datagram has another length");
    received++;
    if (received === wanted) wake();
  });
  const started = performance.now();
  while (received < count) {
    wanted = received + burst;
    const arrived = new Promise<void>((resolve) => {
      wake = resolve;
    });
    for (const message of messages) tx.send(message, port, address);
    await arrived;
  }
  const ms = performance.now() - started;
  await new Promise<void>((resolve) => void tx.close(resolve));
  await new Promise<void>((resolve) => void rx.close(resolve));
  return { ms, amount: received };
}
