/** Gives a host a TAP device as its network card. */

import type { TunBackend, TunOptions } from "../drivers/net/tun.ts";
import { tunCreate } from "../drivers/net/tun.ts";
import type { NetDevice } from "../net/core/dev.ts";
import { SocketError } from "../net/socket_error.ts";
import { ENOBUFS } from "../uapi/errno.ts";
import type { SkbuffKernel } from "./create.ts";
import type { Host } from "./host.ts";

/**
 * Makes a device of `host` whose frames go through `backend` (an open `Tap`, or anything that moves frames). It is down
 * and has no address yet.
 */
export function attachTap(
  kernel: SkbuffKernel,
  host: Host,
  backend: TunBackend & { readonly vnetHdr?: boolean },
  options: TunOptions & { name?: string } = {},
): NetDevice {
  kernel.core.enter();
  try {
    const dev = tunCreate(host.ns, options.name ?? "eth0", backend, { vnetHdr: backend.vnetHdr === true, ...options });
    if (dev === null) throw new SocketError("tun", ENOBUFS);
    return dev;
  } finally {
    kernel.core.exit();
  }
}
