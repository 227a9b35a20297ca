/** The one error class of the public edge. */

import { errnoMessage, errnoName } from "../uapi/errno.ts";

/** Dotted quad of an IPv4 address in host order. */
export function formatIpv4(addr: number): string {
  return `${addr >>> 24}.${(addr >>> 16) & 255}.${(addr >>> 8) & 255}.${addr & 255}`;
}

/** The u32 (host order) of a dotted quad, or -1 if it is none. Four decimal numbers; no short or octal forms. */
export function parseIpv4(text: string): number {
  const m = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (m === null) return -1;
  let addr = 0;
  for (let i = 1; i <= 4; i++) {
    const part = m[i] as string;
    const n = Number(part);
    if (n > 255 || (part.length > 1 && part.startsWith("0"))) return -1;
    addr = addr * 256 + n;
  }
  return addr;
}

/**
 * A refused or failed socket call, shaped like Node's own: `connect ECONNREFUSED 10.0.0.1:80`.
 *
 * @example
 * ```ts
 * try { await host.connect(80, "10.0.0.9"); } catch (e) {
 *   if (e instanceof SocketError && e.code === "EHOSTUNREACH") console.log(e.address);
 * }
 * ```
 */
export class SocketError extends Error {
  override readonly name: string = "SocketError";
  /** "ECONNREFUSED" ... */
  readonly code: string;
  /** Negative, as in Node: -111. */
  readonly errno: number;
  /** "connect", "bind", "send" ... */
  readonly syscall: string;
  readonly address: string | undefined;
  readonly port: number | undefined;

  /** `errno`: negative or positive Linux errno. */
  constructor(syscall: string, errno: number, address?: string, port?: number) {
    const n = Math.abs(errno);
    const code = errnoName(n);
    const where = address === undefined ? "" : port === undefined ? ` ${address}` : ` ${address}:${port}`;
    super(`${syscall} ${code}${where}${where === "" ? `: ${errnoMessage(n)}` : ""}`);
    this.code = code;
    this.errno = -n;
    this.syscall = syscall;
    this.address = address;
    this.port = port;
  }
}
