/**
 * A TAP device of the host's Linux kernel as a backend of drivers/net/tun: open /dev/net/tun, TUNSETIFF, read and write.
 * The ioctls and poll go through koffi (an optional dependency); everything else is node:fs on the descriptor.
 */

import * as fs from "node:fs";
import { createRequire } from "node:module";
import type { TunBackend } from "../../drivers/net/tun.ts";
import { tunGetUser, tunPriv } from "../../drivers/net/tun.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { NetDevice } from "../../net/core/dev.ts";
import { EAGAIN, EIO } from "../../uapi/errno.ts";
import {
  IFF_NO_PI,
  IFF_TAP,
  IFF_VNET_HDR,
  TUN_F_CSUM,
  TUN_F_TSO_ECN,
  TUN_F_TSO4,
  TUNSETIFF,
  TUNSETOFFLOAD,
} from "../../uapi/if_tun.ts";

/** Frames taken in one context: as many as the backlog holds with room to spare. */
const RX_BATCH = 256;
const POLLIN = 1;

interface LibC {
  ioctl(fd: number, request: bigint, arg: unknown): number;
  pollAsync(fds: Uint8Array, done: (err: unknown, n: number) => void): void;
}

function loadLibC(): LibC {
  let koffi: {
    load(name: string | null): { func(signature: string): { (...a: unknown[]): number; async(...a: unknown[]): void } };
  };
  try {
    koffi = createRequire(import.meta.url)("koffi") as typeof koffi;
  } catch (cause) {
    throw new Error("a TAP device needs the optional package koffi: npm install koffi", { cause });
  }
  const libc = koffi.load("libc.so.6");
  const ioctl = libc.func("int ioctl(int fd, unsigned long request, void *arg)");
  const ioctlValue = libc.func("int ioctl(int fd, unsigned long request, unsigned long arg)");
  const poll = libc.func("int poll(void *fds, unsigned long nfds, int timeout)");
  return {
    ioctl: (fd, request, arg) => (typeof arg === "number" ? ioctlValue(fd, request, arg) : ioctl(fd, request, arg)),
    // A finite timeout: a thread that waits for ever would keep the process from ending.
    pollAsync: (fds, done) => poll.async(fds, 1, 1000, done),
  };
}

/** An open TAP descriptor. */
export class Tap implements TunBackend {
  readonly name: string;
  readonly vnetHdr: boolean;
  readonly #fd: number;
  readonly #libc: LibC;
  #closed = false;
  #reading = false;
  /** Frames that the host did not take (its queue was full). */
  txFull = 0;

  private constructor(fd: number, name: string, vnetHdr: boolean, libc: LibC) {
    this.#fd = fd;
    this.name = name;
    this.vnetHdr = vnetHdr;
    this.#libc = libc;
  }

  /**
   * Opens (and makes, if need be) the TAP device `name` of the network namespace that the process is in. Needs
   * CAP_NET_ADMIN there. Throws an Error that says what is missing.
   */
  static open(name: string, options: { vnetHdr?: boolean } = {}): Tap {
    if (name.length === 0 || name.length > 15) throw new RangeError(`"${name}" is no interface name (1 to 15 bytes)`);
    const libc = loadLibC();
    const vnetHdr = options.vnetHdr !== false;
    const fd = fs.openSync("/dev/net/tun", fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
    // struct ifreq: 16 bytes of name, then the flags.
    const ifreq = Buffer.alloc(40);
    ifreq.write(name, 0, "latin1");
    ifreq.writeUInt16LE(IFF_TAP | IFF_NO_PI | (vnetHdr ? IFF_VNET_HDR : 0), 16);
    if (libc.ioctl(fd, BigInt(TUNSETIFF), ifreq) < 0) {
      fs.closeSync(fd);
      throw new Error(`TUNSETIFF ${name} was refused: it takes CAP_NET_ADMIN, and nobody else may hold the device`);
    }
    if (vnetHdr && libc.ioctl(fd, BigInt(TUNSETOFFLOAD), TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN) < 0) {
      fs.closeSync(fd);
      throw new Error(`TUNSETOFFLOAD ${name} was refused`);
    }
    const end = ifreq.indexOf(0);
    return new Tap(fd, ifreq.toString("latin1", 0, Math.min(end, 16)), vnetHdr, libc);
  }

  write(pieces: Uint8Array[]): number {
    if (this.#closed) return -EIO;
    try {
      fs.writevSync(this.#fd, pieces);
      return 0;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === "EAGAIN") {
        this.txFull++;
        return -EAGAIN;
      }
      // EIO: the host's end is down. Like a cable that is not plugged in.
      return -EIO;
    }
  }

  /** Starts taking frames from the host into `dev`. */
  start(kernel: Kernel, dev: NetDevice): void {
    if (this.#reading) return;
    this.#reading = true;
    const tun = tunPriv(dev);
    // struct pollfd { int fd; short events; short revents; }
    const pollfd = Buffer.alloc(8);
    const wait = (): void => {
      if (this.#closed) return;
      pollfd.writeInt32LE(this.#fd, 0);
      pollfd.writeInt16LE(POLLIN, 4);
      pollfd.writeInt16LE(0, 6);
      this.#libc.pollAsync(pollfd, (_err, n) => {
        if (this.#closed) {
          fs.closeSync(this.#fd);
          return;
        }
        if (n > 0) drain();
        else wait();
      });
    };
    const drain = (): void => {
      let more = true;
      kernel.enter();
      try {
        for (let i = 0; i < RX_BATCH; i++) {
          let n: number;
          try {
            n = fs.readvSync(this.#fd, tun.rxViews);
          } catch {
            more = false;
            break;
          }
          tunGetUser(tun, n);
        }
      } finally {
        kernel.exit();
      }
      if (this.#closed) {
        fs.closeSync(this.#fd);
        return;
      }
      if (more) setImmediate(drain);
      else wait();
    };
    wait();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // A reader closes the descriptor when its poll returns.
    if (!this.#reading) fs.closeSync(this.#fd);
  }
}
