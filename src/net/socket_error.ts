/** The one error class of the public edge. */

import { errnoMessage, errnoName } from "../uapi/errno.ts";

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
